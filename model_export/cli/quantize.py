"""``secondread-model quantize``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_export.cli.options import Data


def quantize(
    package: Annotated[Path, typer.Argument(metavar="PACKAGE", help="Folder of a model package.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the INT8 variant.")],
    calibrate: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder with manifest.csv of images that set the ranges and the gate's limit.",
        ),
    ],
    data: Data,
    calibrate_where: Annotated[
        str | None, typer.Option(help="Which of --calibrate, such as split=validation; else all.")
    ] = None,
    calibrate_images: Annotated[
        int, typer.Option(min=1, help="How many of them set the ranges, evenly spread.")
    ] = 64,
    where: Annotated[
        str | None, typer.Option(help="Which of --data, such as split=test; all without it.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=2, help="Judge on so many of them, evenly spread; else all.")
    ] = None,
) -> None:
    """Make an INT8 variant of a package, and judge it against the package on labelled images.

    The table goes into the variant's manifest and card; the service loads no variant without one.
    Images that the model was trained on, or that the ranges come from, are refused for it.
    """
    from model_export.dataset import read_manifest, select
    from model_export.prediction import PackagePredictor
    from model_export.provenance import CHOOSE_OTHERS, digests_of, refuse_training_images, standing
    from model_export.quantization import compare, quantise, spread, with_new_limit, write_variant
    from service.analysis.inference import Scorer
    from service.analysis.model_package import MODEL_FILE, ModelPackage, load_model_package
    from service.sections import AnalysisSettings

    original = load_model_package(package)
    if out.resolve() == package.resolve():
        raise ValueError("--out must be another folder than that of the package")
    folder = read_manifest(data)
    chosen = select(folder, where)
    images = chosen if limit is None else spread(chosen, limit)
    known = select(read_manifest(calibrate), calibrate_where)
    calibration = spread(known, calibrate_images)
    predictor = PackagePredictor(package)
    found = standing(predictor, images, folder, digests_of(folder))
    refuse_training_images(predictor.name, found, CHOOSE_OTHERS)
    if {image.digest() for image in known} & {image.digest() for image in images}:
        raise ValueError("the same images calibrate and judge: choose others for one of the two")
    out.mkdir(parents=True, exist_ok=True)
    method = quantise(original, calibration, out / MODEL_FILE)
    named = data.resolve().name + (f" ({where})" if where else "")
    if len(images) < len(chosen):
        named += f", {len(images)} of {len(chosen)} images"
    settings = AnalysisSettings(model=package)
    judged = with_new_limit(ModelPackage(out, original.manifest), known)
    validation = compare(
        Scorer(original, settings),
        Scorer(judged, settings),
        original.manifest.threshold,
        images,
        named,
    )
    variant = write_variant(original, judged, method, validation)
    for name, value in validation.model_dump().items():
        typer.echo(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
    megabytes = variant.model_path.stat().st_size / 1e6
    typer.echo(f"wrote the variant {out} ({megabytes:.1f} MB): {method}")
