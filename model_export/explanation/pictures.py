"""The files of ``explain``: a sheet for each image, single pictures, and an index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from dicom_sr.finding import Decision
from dicom_sr.overlay import activation_colours
from model_export.dataset import LabelledImage
from model_export.explanation.choices import Form, Method
from model_export.explanation.forms import draw, grey_to_rgb, outline_lesion
from model_export.tables import Table, markdown_page

INDEX, INDEX_TABLE = "index.md", "index.csv"
_PANEL_INCHES = 2.6
_DOTS_PER_INCH = 130


@dataclass(frozen=True)
class Explanation:
    """What is shown of one image.

    name: of its files. score: malignant probability, 0–1. reported: by the operating point.
    decision: whose logit the maps are for. heatmaps: ``(H, W)`` float32, 0–1, by method.
    """

    name: str
    image: LabelledImage
    score: float
    reported: Decision
    decision: Decision
    heatmaps: Mapping[Method, NDArray[np.float32]]

    @property
    def sheet(self) -> str:
        return f"{self.name}_sheet.png"

    @property
    def truth(self) -> str:
        """As the manifest says it; single pictures have none."""
        return self.image.columns.get("label", "not known")

    @property
    def title(self) -> str:
        """Without a word of the patient."""
        return (
            f"{self.name}: called {self.reported}, malignancy score {100 * self.score:.1f} % "
            f"(truth: {self.truth})"
        )


def file_names(images: Sequence[LabelledImage]) -> list[str]:
    """The stem of each image's file, with its folders where two have the same stem."""
    paths = [PurePosixPath(image.file) for image in images]
    stems = Counter(path.stem for path in paths)
    return [
        path.stem
        if stems[path.stem] == 1
        else "-".join(part for part in path.with_suffix("").parts if part.strip("/."))
        for path in paths
    ]


def write_pictures(found: Explanation, forms: Sequence[Form], folder: Path, mark: str = "") -> None:
    """Write the image's sheet, and ``NAME_METHOD_FORM.png`` for each method and form."""
    pixels, mask = found.image.pixels(), found.image.mask()
    for method, heatmap in found.heatmaps.items():
        for form in forms:
            picture = Image.fromarray(draw(form, pixels, _shown(method, heatmap)))
            picture.save(folder / f"{found.name}_{method}_{form}.png")
    _sheet(found, pixels, mask, mark).savefig(folder / found.sheet, dpi=_DOTS_PER_INCH)


def write_index(
    found: Sequence[Explanation], introduction: Sequence[str], folder: Path, mark: str
) -> None:
    """Write index.md, which shows the sheets, and index.csv."""
    table = Table(
        "Images",
        ("file", "truth", "called", "score", "maps are for", "sheet"),
        tuple(
            (
                one.image.file,
                one.truth,
                str(one.reported),
                f"{one.score:.4f}",
                str(one.decision),
                one.sheet,
            )
            for one in found
        ),
        mark,
    )
    page = markdown_page("Where the model looks", introduction, [table])
    page += "".join(f"\n![{one.title}]({one.sheet})\n" for one in found)
    (folder / INDEX).write_text(page, encoding="utf-8")
    (folder / INDEX_TABLE).write_text(table.csv(), encoding="utf-8")


def _shown(method: Method, heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """Guided maps are a few bright pixels: the brightest 0.5 % are shown alike, or none is seen."""
    limit = np.quantile(heatmap, 0.995)
    if method is not Method.GUIDED or limit <= 0:
        return heatmap
    return np.asarray(np.clip(heatmap / limit, 0, 1), dtype=np.float32)


def _sheet(
    found: Explanation, pixels: NDArray[np.uint8], mask: NDArray[np.uint8], mark: str
) -> Figure:
    """The original, with the lesion's outline if it is known, then each method's overlay."""
    known = bool(mask.any())
    original = grey_to_rgb(pixels)
    panels = [("lesion outlined" if known else "original", original)]
    if known:
        panels = [("lesion outlined", outline_lesion(original, mask))]
    for method, heatmap in found.heatmaps.items():
        empty = "" if heatmap.any() else f": no area raised the {found.decision} score"
        panels.append((f"{method}{empty}", draw(Form.OVERLAY, pixels, _shown(method, heatmap))))
    height = _PANEL_INCHES * float(np.clip(pixels.shape[0] / pixels.shape[1], 0.5, 1.6))
    figure = Figure(figsize=(_PANEL_INCHES * len(panels) + 0.6, height + 1), layout="constrained")
    FigureCanvasAgg(figure)
    title = f"{found.title}\nheatmaps for {found.decision}"
    figure.suptitle(f"{title}: {mark}" if mark else title, fontsize=9)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, picture) in zip(grid, panels, strict=True):
        axes.imshow(picture, interpolation="bilinear")
        axes.set_title(name, fontsize=8, wrap=True)
        axes.axis("off")
    colours = ListedColormap(activation_colours(np.linspace(0, 1, 256, dtype=np.float32)) / 255)
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), colours), ax=list(grid), fraction=0.02)
    with mpl.rc_context({"font.size": 7}):
        bar.set_ticks([0, 1], labels=["0", "max"])
    return figure
