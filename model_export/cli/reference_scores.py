"""``secondread-model reference-scores``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_export.cli.options import Data


def reference_scores(
    package: Annotated[Path, typer.Argument(help="A model package; its manifest is changed.")],
    data: Data,
) -> None:
    """Keep in a package how it scores its validation images: drift is measured from that.

    The images are found by the digests that the package lists.
    """
    from model_export.dataset import read_manifest
    from model_export.reference_scores import record_reference_scores
    from service.analysis.model_package import load_model_package

    loaded = load_model_package(package)
    count = len(loaded.manifest.validation_images)
    words = f"{data.resolve().name}, the {count} validation images of the package"
    changed = record_reference_scores(loaded, read_manifest(data), words)
    reference = changed.manifest.reference_scores
    assert reference is not None  # noqa: S101 it was just made
    typer.echo(f"{sum(reference.counts)} images in {len(reference.counts)} bins: {package}")
