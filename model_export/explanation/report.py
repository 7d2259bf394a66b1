"""What ``explain --faithfulness`` tells: a table, the same against the centre, and the curves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from model_export.dataset import LabelledImage
from model_export.explanation.choices import Removed
from model_export.explanation.faithfulness import (
    BLUR,
    CENTRE,
    FIGURES,
    RANDOM,
    Measures,
    Summary,
    summarise,
)
from model_export.figures import curves_figure, save_figure
from model_export.json_values import plain
from model_export.statistics import Interval
from model_export.tables import Table, markdown_page, signed_text

REPORT, REPORT_JSON = "faithfulness.md", "faithfulness.json"
REPORT_CSV, IMAGES_CSV = "faithfulness.csv", "faithfulness_images.csv"
CURVES = "faithfulness_curves"


@dataclass(frozen=True)
class FaithfulnessReport:
    """model, described: in words. mark: see :meth:`model_export.provenance.Standing.mark`.

    decision: whose maps, in words. measured: by method, one for each image, in their order.
    """

    model: str
    described: str
    mark: str
    decision: str
    images: tuple[LabelledImage, ...]
    measured: Mapping[str, Sequence[Measures]]
    steps: int
    removed: Removed

    @property
    def patients(self) -> list[str]:
        return [image.patient for image in self.images]

    @property
    def masked(self) -> int:
        """How many of the images have a lesion mask."""
        return sum(not math.isnan(one.hit) for one in self.measured[CENTRE])


def tables(report: FaithfulnessReport, found: Sequence[Summary]) -> list[Table]:
    """The means, then their differences from the centre Gaussian's."""
    blur = f"a Gaussian blur (σ {BLUR:.0%} of the longer edge)"
    title = f"Faithfulness of heatmaps of {report.model} on {report.described}"
    count = f"{len(report.images)} images of {len(set(report.patients))} patients"
    heads = (
        "method",
        "maximum inside lesion ↑",
        "energy inside lesion ↑",
        "deletion AUC ↓",
        "insertion AUC ↑",
    )
    means = Table(
        title,
        heads,
        tuple((one.method, *(_told(one.figures[name]) for name in FIGURES)) for one in found),
        report.mark,
        (
            f"Means of {count} with 95 % intervals from a bootstrap by patient; the lesion's two "
            f"figures of the {report.masked} images with a mask. ↑ high, ↓ low is good.",
            f"Deletion and insertion: area under the probability of {report.decision} in "
            f"{report.steps} steps; deleted pixels become "
            f"{blur if report.removed == 'blur' else 'black'}, insertion begins with {blur}.",
            f"`{CENTRE}` is a Gaussian in the image's centre, `{RANDOM}` is noise: neither knows "
            "the model. Heatmaps that are no better than these show nothing of it.",
        ),
    )
    differences = Table(
        f"{title}, less the centre Gaussian's",
        heads,
        tuple(
            (one.method, *(_signed(one.against_centre[name]) for name in FIGURES))
            for one in found
            if one.method != CENTRE
        ),
        report.mark,
        ("Differences on the same images: an interval that holds 0 shows no difference.",),
    )
    return [means, differences]


def write_faithfulness(report: FaithfulnessReport, folder: Path) -> list[Table]:
    """Write the report as Markdown, JSON and CSV, each image's figures, and the mean curves.

    Returns the tables, for the terminal.
    """
    found = summarise(report.measured, report.patients)
    written = tables(report, found)
    page = markdown_page(
        "Do the heatmaps show what the model uses?",
        [
            f"Model: {report.model}",
            f"Images: {report.described}",
            f"Heatmaps for {report.decision}",
            *([f"**{report.mark}**"] if report.mark else []),
        ],
        written,
    )
    page += f"\n![Mean deletion and insertion curves]({CURVES}.png)\n"
    (folder / REPORT).write_text(page, encoding="utf-8")
    (folder / REPORT_CSV).write_text(written[0].csv(), encoding="utf-8")
    (folder / IMAGES_CSV).write_text(_images(report).csv(), encoding="utf-8")
    content = {
        "model": report.model,
        "images": report.described,
        "mark": report.mark or None,
        "decision": report.decision,
        "count": len(report.images),
        "patients": len(set(report.patients)),
        "masked": report.masked,
        "steps": report.steps,
        "removed": report.removed,
        "methods": [_summary(one) for one in found],
    }
    text = json.dumps(plain(content), indent=2, ensure_ascii=False)
    (folder / REPORT_JSON).write_text(text + "\n", encoding="utf-8")
    title = f"{report.model} on {report.described}"
    figure = curves_figure(
        {
            "deletion, highest pixels first (low is good)": {s.method: s.deletion for s in found},
            "insertion, highest pixels first (high is good)": {
                s.method: s.insertion for s in found
            },
        },
        "share of the pixels",
        f"mean probability of {report.decision}",
        f"{title}: {report.mark}" if report.mark else title,
    )
    save_figure(figure, folder / CURVES)
    return written


def _images(report: FaithfulnessReport) -> Table:
    rows = tuple(
        (image.file, method, *("" if math.isnan(v) else f"{v:.4f}" for v in values))
        for method, found in report.measured.items()
        for image, one in zip(report.images, found, strict=True)
        for values in ([of(one) for of in FIGURES.values()],)
    )
    return Table("Images", ("file", "method", *FIGURES), rows, report.mark)


def _summary(summary: Summary) -> dict[str, object]:
    return {
        "method": summary.method,
        "figures": {name: _plain(one) for name, one in summary.figures.items()},
        "against_centre": {name: _plain(one) for name, one in summary.against_centre.items()},
        "deletion_curve": summary.deletion.tolist(),
        "insertion_curve": summary.insertion.tolist(),
    }


def _plain(interval: Interval | None) -> object:
    return None if interval is None else asdict(interval)


def _told(interval: Interval | None) -> str:
    return "no masks" if interval is None else str(interval)


def _signed(found: Interval | None) -> str:
    if found is None:
        return "no masks"
    return signed_text(found.value, found.lower, found.upper)
