"""``secondread-model lesions``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicom_sr.fusion import RULE, FusionRule
from model_export.cli.options import Data, Model, OperatingPointName, Where


def lesions(
    model: Model,
    data: Data,
    where: Where = None,
    by: Annotated[
        str, typer.Option(help="The column of the manifest that tells lesions apart.")
    ] = "patient_id",
    rule: Annotated[
        list[FusionRule] | None,
        typer.Option(
            help="How the views' scores become one; may be repeated, to choose one on validation "
            f"images. Without it: {RULE}, which the service reports."
        ),
    ] = None,
    operating_point: OperatingPointName = None,
    training_set: Annotated[
        bool,
        typer.Option(
            "--training-set", help="Score images the model was trained on, and mark all results."
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for lesions.md and lesions.json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Judge a model per lesion, the views of one lesion fused to one score, against per image.

    Prints AUC, sensitivity and specificity of both and their differences, with 95 % intervals by
    patient. Images that the model was trained on, and other images of their patients, are refused.
    """
    import numpy as np
    from rich.console import Console

    from model_export.dataset import read_manifest, select
    from model_export.lesions import judge_per_lesion, lesions_of, with_several_views
    from model_export.lesions_report import LesionsReport, tables, write_report
    from model_export.lesions_report import as_json as report_as_json
    from model_export.prediction import load_predictor, predict_all
    from model_export.provenance import CHOOSE_OTHERS, digests_of, refuse_training_images, standing

    folder = read_manifest(data)
    images = select(folder, where)
    found = lesions_of(images, by)
    several = with_several_views(found)
    if not several:
        raise ValueError(f"no lesion has several images by {by}: there is nothing to fuse")
    predictor = load_predictor(model)
    point = predictor.operating_point(operating_point)
    seen = standing(predictor, images, folder, digests_of(folder))
    if not training_set:
        refuse_training_images(predictor.name, seen, CHOOSE_OTHERS)
    scores = np.array([said.probability_malignant for _, said in predict_all(predictor, images)])
    rules = list(dict.fromkeys(rule or [RULE]))
    both_classes = len({lesion.label for lesion in several}) == 2
    report = LesionsReport(
        model=predictor.name,
        images=data.resolve().name + (f" ({where})" if where else ""),
        column=by,
        mark=seen.mark(training_set),
        point=point,
        all_lesions=tuple(judge_per_lesion(found, scores, point.threshold, r) for r in rules),
        several=tuple(judge_per_lesion(several, scores, point.threshold, r) for r in rules)
        if both_classes
        else (),
    )
    if as_json:
        typer.echo(report_as_json(report), nl=False)
    else:
        console = Console()
        for table in tables(report):
            table.print(console)
    if out is not None:
        write_report(report, out)
        typer.echo(f"wrote {out}", err=as_json)
