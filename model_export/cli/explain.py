"""``secondread-model explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_export.cli.options import Model, OperatingPointName
from model_export.explanation.choices import Evidence, Form, Method, Removed


def explain(
    model: Model,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for pictures and report.")],
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGES",
            exists=True,
            dir_okay=False,
            help="Cropped pictures (PNG, JPEG …) whose diagnosis need not be known; or --data.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Folder with manifest.csv, as `prepare`'s."
        ),
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Which of --data, such as split=test; all without it.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many of them, evenly spread.")
    ] = None,
    method: Annotated[
        list[Method] | None,
        typer.Option(
            help="May be repeated; gradcam without it, which is what the service shows. scorecam "
            "is slow: one pass for each of the last map's channels (256 to 2048)."
        ),
    ] = None,
    form: Annotated[
        list[Form] | None, typer.Option(help="May be repeated; overlay without it.")
    ] = None,
    decision: Annotated[
        Evidence, typer.Option(help="Whose evidence is shown.")
    ] = Evidence.REPORTED,
    operating_point: OperatingPointName = None,
    training_set: Annotated[
        bool,
        typer.Option(
            "--training-set", help="Explain images the model was trained on, and mark all results."
        ),
    ] = False,
    faithfulness: Annotated[
        bool,
        typer.Option(
            "--faithfulness", help="Also measure what the heatmaps are worth (slow on a CPU)."
        ),
    ] = False,
    steps: Annotated[int, typer.Option(min=2, help="Of the deletion and insertion curves.")] = 12,
    removed: Annotated[Removed, typer.Option(help="What deleted pixels become.")] = Removed.BLUR,
) -> None:
    """Show where a model looks: heatmaps of each image, and whether they can be trusted.

    Writes a sheet for each image, single pictures and an index; with --faithfulness a report of
    pointing game, energy inside the lesion, deletion and insertion. Images that the model was
    trained on, and other images of their patients, are refused.
    """
    from rich.console import Console

    from dicom_sr.finding import Decision
    from model_export.dataset import read_manifest, select
    from model_export.explanation.explaining import (
        explain_images,
        judge_heatmaps,
        spread,
        unlabelled,
    )
    from model_export.explanation.faithfulness import Measures
    from model_export.explanation.methods import Explainer
    from model_export.explanation.network import load_network
    from model_export.explanation.pictures import Explanation, write_index, write_pictures
    from model_export.explanation.report import FaithfulnessReport, write_faithfulness
    from model_export.prediction import load_predictor
    from model_export.provenance import CHOOSE_OTHERS, digests_of, refuse_training_images, standing

    if (data is None) == (not pictures):
        raise ValueError("say which images to explain: single files, or a folder with --data")
    if data is None and where is not None:
        raise ValueError("--where chooses from a data folder: say --data")
    folder = unlabelled(pictures or []) if data is None else read_manifest(data)
    images = spread(select(folder, where), limit)
    methods = method or [Method.GRADCAM]
    forms = form or [Form.OVERLAY]
    predictor = load_predictor(model)
    point = predictor.operating_point(operating_point)
    seen = standing(predictor, images, folder, digests_of(folder))
    if not training_set:
        refuse_training_images(predictor.name, seen, CHOOSE_OTHERS)
    mark = seen.mark(training_set)
    network = load_network(model) if set(methods) - {Method.GRADCAM} else None
    explainer = Explainer(network, predictor.preprocessing)
    logit = None if decision is Evidence.REPORTED else Decision(decision)
    out.mkdir(parents=True, exist_ok=True)
    found: list[Explanation] = []
    measured: dict[str, list[Measures]] = {}
    for one in explain_images(predictor, point, explainer, images, methods, logit):
        write_pictures(one, forms, out, mark)
        found.append(one)
        if faithfulness:
            for name, measures in judge_heatmaps(predictor, one, steps, removed).items():
                measured.setdefault(name, []).append(measures)
    named = "single pictures" if data is None else data.resolve().name
    described = named + (f" ({where})" if where else "")
    introduction = [
        f"Model: {predictor.name}",
        f"Images: {described}: {len(found)}",
        f"Operating point `{point.name}`: malignant from {point.threshold:.4f} on ({point.rule})",
        f"Heatmaps for the decision: {decision}",
        *([f"**{mark}**"] if mark else []),
    ]
    write_index(found, introduction, out, mark)
    console = Console()
    if faithfulness:
        whose = "the reported decision" if logit is None else str(logit)
        report = FaithfulnessReport(
            predictor.name, described, mark, whose, tuple(images), measured, steps, removed
        )
        for table in write_faithfulness(report, out):
            table.print(console)
    console.print(f"wrote {out}")
