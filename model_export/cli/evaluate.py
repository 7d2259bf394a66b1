"""``secondread-model evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_export.cli.options import Data, Model, OperatingPointName, Where

_SUBGROUPS = ("device", "birads", "size")


def evaluate(
    model: Model,
    data: Data,
    where: Where = None,
    operating_point: OperatingPointName = None,
    training_set: Annotated[
        bool,
        typer.Option(
            "--training-set", help="Score images the model was trained on, and mark all results."
        ),
    ] = False,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="A column of the manifest for subgroups, or size (diameter_mm, else the mask's "
            "share); may be repeated. Without it: device, birads, size."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for report, scores and figures.")
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(help="Write the figures into the package's manifest and card as this title."),
    ] = None,
) -> None:
    """Judge a model on labelled images, at an operating point that was fixed on validation images.

    Prints AUC, sensitivity, specificity and more with 95 % intervals, and subgroups. Images that
    the model was trained on, and other images of their patients, are refused.
    """
    from rich.console import Console

    from model_export.dataset import read_manifest, select
    from model_export.evaluation import judge, judge_by_patient, score_images
    from model_export.evaluation_report import EvaluationReport, tables, write_report
    from model_export.package import record_evaluation
    from model_export.prediction import is_package, load_predictor
    from model_export.provenance import CHOOSE_OTHERS, digests_of, refuse_training_images, standing
    from model_export.subgroups import subgroups
    from service.analysis.model_package import load_model_package

    if record is not None and training_set:
        raise ValueError("a card holds no figures on training images: leave --record out")
    if record is not None and not is_package(model):
        raise ValueError(f"--record writes into a model package, and {model} is none")
    folder = read_manifest(data)
    images = select(folder, where)
    predictor = load_predictor(model)
    point = predictor.operating_point(operating_point)
    found = standing(predictor, images, folder, digests_of(folder))
    if not training_set:
        refuse_training_images(predictor.name, found, CHOOSE_OTHERS)
    scored = score_images(predictor, point, images)
    evaluation = judge(scored, point)
    named = data.resolve().name + (f" ({where})" if where else "")
    report = EvaluationReport(
        model=predictor.name,
        images=named,
        mark=found.mark(training_set),
        point=point,
        evaluation=evaluation,
        by_patient=judge_by_patient(scored, point.threshold),
        subgroups=tuple(
            group
            for column in by or _SUBGROUPS
            for group in subgroups(scored, column, point.threshold)
        ),
    )
    console = Console()
    for table in tables(report):
        table.print(console)
    if out is not None:
        write_report(report, scored, out)
        console.print(f"wrote {out}")
    if record is not None:
        title = f"{record}: {report.mark}" if report.mark else record
        record_evaluation(load_model_package(model), title, evaluation)
