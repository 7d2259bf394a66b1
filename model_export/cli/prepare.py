"""``secondread-model prepare``: from a hospital's images to a folder to train on."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Annotated

import typer

from model_export.preparation.clinical import COLUMNS
from service.cli.options import ConfigFile


def prepare(
    images: Annotated[
        Path,
        typer.Argument(
            exists=True,
            file_okay=False,
            help="Folder of DICOM, PNG or JPEG files (BMP and TIFF too), with subfolders; "
            "LabelMe's NAME.json beside an image gives its outlines.",
        ),
    ],
    clinical: Annotated[
        Path,
        typer.Option(exists=True, dir_okay=False, help="CSV in UTF-8, one row for each image."),
    ],
    out: Annotated[Path, typer.Option(help="The new training folder.")],
    key: Annotated[
        Path | None,
        typer.Option(
            help="Write here, outside of OUT, which patient and file became which, and why each "
            "other file was left out. Without it nothing leads back.",
        ),
    ] = None,
    birads: Annotated[
        str, typer.Option(help="BI-RADS categories of the study, the paper's by default.")
    ] = "3,4a,4b,4c",
    test_share: Annotated[float, typer.Option(help="Share of the patients to test on.")] = 0.3,
    validation_share: Annotated[
        float, typer.Option(help="Share of the other patients to validate on.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Of the split and of the pseudonyms.")] = 1,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the JPEGs.")] = 95,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a folder that `prepare` wrote, and the key.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Decode, crop, include, split by patient and pseudonymise, as the paper did.

    Each image is decoded and cropped by the service's own code; one that the service would not
    analyse is left out with the service's reason. Included are BI-RADS 3, 4A, 4B and 4C with
    definite pathology, and of several lesions of a patient the one with the highest category.

    OUT then holds manifest.csv, the images as grey JPEGs in benign/ and malignant/ (LabelMe's
    outlines beside them), masks/, flow.md, .csv, .png and .svg (who was left out, and why), and
    table_one.md and .csv. It names no patient.

    Exit code 0 if OUT is written, 1 if the table, the images or the places cannot be used (then
    there is no OUT), 2 if the command was called wrongly.
    """
    from rich.console import Console
    from rich.progress import Progress

    from model_export.preparation import clinical_values
    from model_export.preparation.preparing import Preparation
    from model_export.preparation.preparing import prepare as run
    from service.config import ConfigurationError, load_settings

    plan = Preparation(
        images=images,
        clinical=clinical,
        out=out,
        key=key,
        birads=tuple(clinical_values.birads(category) for category in birads.split(",")),
        test_share=test_share,
        validation_share=validation_share,
        seed=seed,
        quality=quality,
        force=force,
    )
    try:
        settings = load_settings(config).analysis
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from error
    errors = Console(stderr=True)
    with warnings.catch_warnings(), Progress(console=errors, transient=True) as progress:
        warnings.simplefilter("ignore")  # pydicom quotes the values that it warns of

        def track(files: Sequence[str], doing: str) -> Iterable[str]:
            return progress.track(files, description=doing)

        prepared = run(plan, settings, track)
    console = Console()
    prepared.flow.print(console)
    prepared.table_one.print(console)
    errors.print(f"wrote {out}", markup=False, soft_wrap=True)


_columns = "; ".join(f"{name} ({', '.join(aliases)})" for name, aliases in COLUMNS.items())
prepare.__doc__ = (
    f"{cleandoc(prepare.__doc__ or '')}\n\n"
    f"Columns of the clinical table, in any case, with their other names: {_columns}. Needed are "
    "file or sop_instance_uid, patient_id, birads, and pathology or label."
)
