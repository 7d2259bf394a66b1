"""``secondread-model``: all commands, and how a failure becomes one line and an exit code."""

from __future__ import annotations

import sys

import typer

from service.cli.lazy import Command, lazy_group

COMMANDS = {
    "prepare": Command(
        "model_export.cli.prepare:prepare",
        "Decode, crop, include, split by patient and pseudonymise, as the paper did.",
    ),
    "train": Command(
        "model_export.cli.train:train",
        "Train a backbone with the study's head on a prepared folder.",
    ),
    "evaluate": Command(
        "model_export.cli.evaluate:evaluate",
        "Judge a model on labelled images, at an operating point that was fixed on validation"
        " images.",
    ),
    "lesions": Command(
        "model_export.cli.lesions:lesions",
        "Judge a model per lesion, the views of one lesion fused to one score, against per image.",
    ),
    "compare": Command(
        "model_export.cli.compare:compare",
        "Compare models on the same split: Table 2, ROC figure, pairwise DeLong tests.",
    ),
    "explain": Command(
        "model_export.cli.explain:explain",
        "Show where a model looks: heatmaps of each image, and whether they can be trusted.",
    ),
    "reader-study": Command(
        "model_export.cli.reader_study:reader_study_app",
        "A blinded study of readers without and with the model: make the work lists, collect "
        "the answers, analyse them.",
    ),
    "export": Command(
        "model_export.cli.export:export",
        "Write a model package that the service loads, from a training run.",
    ),
    "reference-scores": Command(
        "model_export.cli.reference_scores:reference_scores",
        "Keep in a package how it scores its validation images: drift is measured from that.",
    ),
    "quantize": Command(
        "model_export.cli.quantize:quantize",
        "Make an INT8 variant of a package, and judge it against the package on labelled images.",
    ),
    "verify": Command(
        "model_export.cli.verify:verify",
        "Prove a package: its contract, its parity with torch, and what its gate tells.",
    ),
    "card": Command(
        "model_export.cli.card:card",
        "Renew a package's model_card.md from its manifest.",
    ),
    "keygen": Command(
        "model_export.cli.sign:keygen",
        "Make a key that signs packages, and print its public key for `analysis.trusted_keys`.",
    ),
    "sign": Command(
        "model_export.cli.sign:sign",
        "Sign a package as it is: manifest, model and card.",
    ),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    help="From a hospital's images to a model package that SecondRead loads: prepare, train, "
    "judge, explain, export. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options() -> None:
    pass


def run() -> None:
    """Run the command line and exit: what the user can mend becomes one line and exit code 1.

    Exit code 2 is typer's: the command was called wrongly.
    """
    from service.analysis.inference import InferenceError
    from service.analysis.model_package import ModelPackageError

    try:
        app()
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed: pip install 'secondread[cpu,model]'")
    except (OSError, ValueError, ModelPackageError, InferenceError) as error:
        sys.exit(f"secondread-model: {error}")
