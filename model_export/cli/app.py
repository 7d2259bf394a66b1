"""``secondread-model``: all commands, and how a failure becomes one line and an exit code."""

from __future__ import annotations

import sys

import typer

from service.cli.lazy import lazy_group

COMMANDS = {
    "prepare": "model_export.cli.prepare:prepare",
    "train": "model_export.cli.train:train",
    "evaluate": "model_export.cli.evaluate:evaluate",
    "compare": "model_export.cli.compare:compare",
    "explain": "model_export.cli.explain:explain",
    "reader-study": "model_export.cli.reader_study:reader_study_app",
    "export": "model_export.cli.export:export",
    "quantize": "model_export.cli.quantize:quantize",
    "verify": "model_export.cli.verify:verify",
    "card": "model_export.cli.card:card",
}
"""Where each command lies: a function, or a group of commands."""

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    help="From a hospital's images to a model package that SecondRead loads: prepare, train, "
    "judge, explain, export. Research use only.",
    no_args_is_help=True,
    add_completion=False,
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
