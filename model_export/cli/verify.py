"""``secondread-model verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_IMAGES = 8


def verify(
    folder: Annotated[Path, typer.Argument(metavar="PACKAGE", help="Folder of a model package.")],
    run: Annotated[
        Path | None, typer.Option(help="The run it was exported from: compare with torch.")
    ] = None,
    inliers: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder with manifest.csv of images the model is for; may be repeated.",
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help="Which of the first --inliers folder, such as split=test; else all."),
    ] = None,
    outliers: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Folder of DICOM files and pictures it is not for."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for the gate's report and figure.")
    ] = None,
) -> None:
    """Prove a package: its contract, its parity with torch, and what its gate tells.

    Exit code 1 at the first thing that is not as it should be.
    """
    import numpy as np

    from model_export.checkpoint import load_checkpoint
    from model_export.dataset import read_manifest, select
    from model_export.gate_figure import write_gate_report
    from model_export.prediction import CheckpointPredictor
    from model_export.verification import gate_report, parity
    from service.analysis.model_package import load_model_package
    from service.analysis.verification import verify_model
    from service.sections import AnalysisSettings

    if (inliers is None) != (outliers is None):
        raise typer.BadParameter("--inliers and --outliers belong together")
    package = load_model_package(folder)
    typer.echo(f"sha256 {package.manifest.sha256}: as in the manifest")
    for line in verify_model(package, AnalysisSettings(model=folder)):
        typer.echo(line)
    images = []
    for number, data in enumerate(inliers or ()):
        images += select(read_manifest(data), where if number == 0 else None)
    if run is not None:
        rng = np.random.default_rng(0)
        pixels = [image.pixels() for image in images[:: max(1, len(images) // _IMAGES)][:_IMAGES]]
        pixels = pixels or [
            rng.integers(0, 256, (240, 320), dtype=np.uint8) for _ in range(_IMAGES)
        ]
        found = parity(package, CheckpointPredictor(load_checkpoint(run)), pixels)
        kind = "images" if images else "pictures of noise"
        typer.echo(
            f"against torch on {found.images} {kind}: probability within {found.probability:.1e}, "
            f"maps within {found.cam:.1e}, correlation at least {found.correlation:.6f}"
        )
    if outliers is not None:
        report = gate_report(package, images, outliers)
        typer.echo(
            f"gate: AUC {report.auc} between {report.inliers.size} inliers and "
            f"{report.outliers.size} outliers ({report.left_out} files could not be decoded); "
            f"beyond the limit {report.limit:.3f}: {report.inliers_flagged.count} inliers, "
            f"{report.outliers_flagged.count} outliers"
        )
        if out is not None:
            write_gate_report(report, out)
            typer.echo(f"wrote {out}")
    typer.echo(f"{package.manifest.name} {package.manifest.version} can be used")
