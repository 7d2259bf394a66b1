"""What ``compare`` tells: Table 2, the ROC figure and DeLong's tests, as in the paper."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from model_export.comparison import TRAIN, Candidate, ImageSet, Pair, Row, pairs, rows
from model_export.figures import RocLine, roc_figure, save_figure
from model_export.json_values import plain
from model_export.network import CLASSES
from model_export.tables import Table, markdown_page, p_text, signed_text

PAGE, RESULTS = "compare.md", "compare.json"


def table_two(found: Sequence[Row]) -> Table:
    """All sets' rows, a model's together, as in the paper."""
    order = list(dict.fromkeys(row.model for row in found))
    lines = tuple(
        (
            row.model,
            f"{row.images} ({row.mark})" if row.mark else row.images,
            str(row.auc),
            str(row.confusion.accuracy),
            str(row.confusion.sensitivity),
            str(row.confusion.specificity),
            str(row.confusion.precision) if row.confusion.precision.total else "none called",
            f"{row.confusion.f1:.3f}",
        )
        for row in sorted(found, key=lambda row: order.index(row.model))
    )
    return Table(
        "Table 2. The models at their operating points",
        ("model", "images", "AUC", "accuracy", "sensitivity", "specificity", "precision", "F1"),
        lines,
        notes=(
            "In brackets 95 % intervals (DeLong's, Wilson's), as if images were independent. "
            "Every threshold was fixed on the model's own validation images.",
        ),
    )


def pairs_table(found: Sequence[Pair], images: ImageSet) -> Table:
    """DeLong's tests of one set."""
    lines = tuple(
        (
            pair.first,
            pair.second,
            signed_text(pair.test.difference, pair.test.lower, pair.test.upper),
            p_text(pair.test.p_value),
            p_text(pair.adjusted),
        )
        for pair in found
    )
    return Table(
        f"DeLong's tests on {images.name}: {images.described}",
        ("first", "second", "AUC first − second (95 % CI)", "P", "P (Holm)"),
        lines,
        images.mark,
        notes=(
            f"Holm's adjustment is over these {len(found)} pairs. Where patients have several "
            "images, the images count as independent and P is somewhat too small.",
        ),
    )


def write_comparison(
    candidates: Sequence[Candidate], sets: Sequence[ImageSet], folder: Path
) -> list[Table]:
    """Write compare.md and .json, each table as CSV, the ROC figures, each set's scores.

    Returns the tables, for the terminal: Table 2 of all sets, then DeLong's tests of those that
    are not for training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    judged = [images for images in sets if images.name != TRAIN]
    row_of = {images.name: rows(candidates, images) for images in sets}
    pair_of = {images.name: pairs(candidates, images) for images in judged}
    table_2 = table_two([row for of_set in row_of.values() for row in of_set])
    tests = {
        images.name: pairs_table(pair_of[images.name], images)
        for images in judged
        if len(candidates) > 1
    }
    introduction = [
        *(
            f"{images.name}: {images.described}: {len(images.images)} images of "
            f"{len({image.patient for image in images.images})} patients, "
            f"{int(images.labels.sum())} malignant"
            for images in sets
        ),
        *(
            f"{c.name}: malignant from {c.point.threshold:.4f} on ({c.point.rule})"
            for c in candidates
        ),
    ]
    found = [table_2, *tests.values()]
    page = markdown_page("Comparison of models", introduction, found)
    for images in judged:
        save_figure(_roc(row_of[images.name], images), folder / f"roc_{images.name}")
        page += f"\n![ROC curves, {images.name}](roc_{images.name}.png)\n"
    (folder / PAGE).write_text(page, encoding="utf-8")
    (folder / "table2.csv").write_text(table_2.csv(), encoding="utf-8")
    for name, table in tests.items():
        (folder / f"delong_{name}.csv").write_text(table.csv(), encoding="utf-8")
    for images in sets:
        (folder / f"scores_{images.name}.csv").write_text(_scores(images).csv(), encoding="utf-8")
    content = {
        "rows": [_row(row) for of_set in row_of.values() for row in of_set],
        "delong": [asdict(pair) for of_set in pair_of.values() for pair in of_set],
    }
    text = json.dumps(plain(content), indent=2, ensure_ascii=False)
    (folder / RESULTS).write_text(text + "\n", encoding="utf-8")
    return found


def _row(row: Row) -> dict[str, object]:
    confusion = row.confusion
    return {
        **asdict(row),
        "accuracy": confusion.accuracy,
        "sensitivity": confusion.sensitivity,
        "specificity": confusion.specificity,
        "precision": confusion.precision,
        "f1": confusion.f1,
    }


def _roc(of_set: Sequence[Row], found: ImageSet) -> Figure:
    lines = []
    for row in of_set:
        operating = (1 - row.confusion.specificity.value, row.confusion.sensitivity.value)
        scores = found.scores[row.model]
        lines.append(RocLine(row.model, row.auc, found.labels, scores, operating))
    title = f"ROC curves, {found.name}: {found.described}"
    return roc_figure(lines, f"{title}: {found.mark}" if found.mark else title)


def _scores(found: ImageSet) -> Table:
    names = tuple(found.scores)
    lines = tuple(
        (
            image.file,
            CLASSES[image.label],
            *(f"{found.scores[name][index]:.6f}" for name in names),
        )
        for index, image in enumerate(found.images)
    )
    return Table("Scores", ("file", "label", *names), lines, found.mark)
