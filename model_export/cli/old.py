"""``secondread-model``: train, export and evaluate."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, export and judge SecondRead's models.",
)

TRAINING_FOLDS, VALIDATION_FOLD, TEST_FOLD = (1, 2, 3), 4, 5

Data = Annotated[
    Path,
    typer.Option(
        exists=True,
        file_okay=False,
        help="Folder with manifest.csv (file, label, patient_id, fold5), images, masks/.",
    ),
]


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Run folder; an interrupted run continues there.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="torchvision resnet50 state dict as .npz; random weights without it.",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 lets torch choose.")] = 0,
) -> None:
    """Fine-tune ResNet50 on folds 1–3; fold 4 chooses the epoch."""
    import numpy as np
    import torch

    from model_export.dataset import in_folds, read_manifest
    from model_export.network import Classifier, load_torchvision_weights
    from model_export.training import TrainingPlan, train

    if threads:
        torch.set_num_threads(threads)
    plan = TrainingPlan()
    torch.manual_seed(plan.seed)
    model = Classifier(plan.dropout)
    if weights is not None:
        with np.load(weights) as arrays:
            state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        load_torchvision_weights(model, state)
    images = read_manifest(data)
    training = in_folds(images, TRAINING_FOLDS)
    train(model, training, in_folds(images, (VALIDATION_FOLD,)), plan, out)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder of `train`.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the new model package.")],
    name: Annotated[str, typer.Option(help="Name of the model.")] = "SecondRead ResNet50",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1.0.0",
    size: Annotated[
        int | None, typer.Option(help="Input size in pixels; that of the training by default.")
    ] = None,
    half: Annotated[bool, typer.Option(help="Store the weights as float16.")] = True,
    note: Annotated[
        str | None, typer.Option(help="What else a reader of the card should know of the run.")
    ] = None,
) -> None:
    """Calibrate on fold 4 and write a model package."""
    import numpy as np
    import torch

    from model_export.calibration import apply_temperature, calibrate
    from model_export.dataset import in_folds, read_manifest
    from model_export.export import export_onnx
    from model_export.network import Classifier
    from model_export.package import write_package
    from model_export.training import TrainingPlan, logits_of
    from service.analysis.model_package import MODEL_FILE

    plan = TrainingPlan()
    best = torch.load(run / "best.pt", weights_only=True)
    model = Classifier()
    model.load_state_dict(best["model"])
    spec = plan.preprocessing(size)
    images = read_manifest(data)
    validation = in_folds(images, (VALIDATION_FOLD,))
    labels = np.array([image.label for image in validation])
    calibration = calibrate(labels, logits_of(model, validation, spec))
    apply_temperature(model, calibration.temperature)
    out.mkdir(parents=True, exist_ok=True)
    export_onnx(model, spec.size, out / MODEL_FILE, half=half)
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    training = in_folds(images, TRAINING_FOLDS)
    chosen = next(row for row in reversed(history) if row["epoch"] == best["epoch"])
    write_package(
        out,
        name=name,
        version=version,
        threshold=round(calibration.threshold, 4),
        preprocessing=spec,
        training={
            "data": "BUS-BRA (Gómez-Flores et al., Med Phys 2023, doi 10.1002/mp.16812), "
            f"official patient folds {', '.join(map(str, TRAINING_FOLDS))}",
            "images": f"{len(training)} of {len({i.patient for i in training})} patients, "
            f"{sum(i.label for i in training)} malignant",
            "validation": f"fold {VALIDATION_FOLD}, {len(validation)} images: chose the epoch, "
            "the temperature and the threshold (Youden's index)",
            "held out": f"fold {TEST_FOLD}; and BrEaST-Lesions-USG (Pawłowska et al., Sci Data "
            "2024, CC BY 4.0): neither was used to choose anything",
            "initial weights": "ResNet50 pruned on ImageNet, from lxd-cumt/ABM-SpConv (MIT; "
            "provenance of the weights undocumented, ImageNet terms apply upstream)",
            "epochs": f"{best['epoch']} of {plan.epochs} "
            f"(sizes {', '.join(f'{s} px × {e}' for s, e in plan.stages)})",
            "validation AUC": chosen["validation_auc"],
            "temperature": round(calibration.temperature, 4),
            "training seconds": round(sum(row["seconds"] for row in history)),
            "weights stored as": "float16, computed in float32" if half else "float32",
            "seed": plan.seed,
            **({"note": note} if note else {}),
        },
    )
    Console(stderr=True).print(f"wrote the model package {out}")


@app.command()
def evaluate(
    package: Annotated[Path, typer.Argument(help="Folder of a model package.")],
    data: Data,
    fold: Annotated[
        int | None,
        typer.Option(help="Only this fold; without it all images, those of the training too."),
    ] = None,
    record: Annotated[
        str | None, typer.Option(help="Write the figures into manifest and card under this title.")
    ] = None,
) -> None:
    """Score labelled images as the service does; prints one JSON object."""
    from model_export.dataset import in_folds, read_manifest
    from model_export.evaluation import evaluate
    from model_export.package import record_evaluation
    from service.analysis.inference import Scorer
    from service.analysis.model_package import load_model_package
    from service.config import AnalysisSettings

    images = read_manifest(data)
    if fold is not None:
        images = in_folds(images, (fold,))
    loaded = load_model_package(package)
    scorer = Scorer(loaded, AnalysisSettings(model=package))
    result = evaluate(scorer, loaded.manifest.threshold, images)
    if record is not None:
        record_evaluation(loaded, record, result)
    print(json.dumps(asdict(result), indent=2))


def main() -> None:
    """Entry point: what the user can mend becomes one line and exit code 1."""
    from service.analysis.model_package import ModelPackageError

    try:
        app()
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed: pip install 'secondread[cpu,model]'")
    except (OSError, ValueError, ModelPackageError) as error:
        sys.exit(f"secondread-model: {error}")
