"""The study's figures, each as PNG and SVG.

Colours are Okabe and Ito's, which colour-blind readers tell apart, and lines differ in their dashes
too. Figures are made without pyplot, whose state is global.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from model_export.statistics import AucInterval, Proportion

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = (
    "-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)),
)  # fmt: skip
_FAINT = "#888888"
_DOTS_PER_INCH = 150
_BINS = 10


@dataclass(frozen=True)
class RocLine:
    """name, auc: for the legend. labels, scores: ``(N,)``. point: where an operating point lies,
    as (1 − specificity, sensitivity)."""

    name: str
    auc: AucInterval
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    point: tuple[float, float] | None = None


def roc_figure(lines: Sequence[RocLine], title: str) -> Figure:
    """ROC curves in one square, the best AUC first in the legend; dots are operating points."""
    figure, axes = roc_axes(title)
    for index, line in enumerate(sorted(lines, key=lambda line: -line.auc.auc)):
        false, true, _ = roc_curve(line.labels, line.scores)
        colour = COLOURS[index % len(COLOURS)]
        label = f"{line.name}: AUC {line.auc}"
        dashes = _DASHES[index % len(_DASHES)]
        axes.plot(false, true, color=colour, linestyle=dashes, linewidth=1.8, label=label)
        if line.point is not None:
            axes.plot(*line.point, "o", color=colour, markersize=7, markeredgecolor="white")
    axes.legend(loc="lower right", fontsize=8.5, framealpha=0.9)
    return figure


def roc_axes(title: str) -> tuple[Figure, Axes]:
    """The empty square for ROC curves, with the diagonal of chance."""
    figure, axes = _axes((6.4, 6.6), title)
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=0.8)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("1 − specificity")
    axes.set_ylabel("sensitivity")
    return figure, axes


def calibration_figure(
    labels: NDArray[np.int64], scores: NDArray[np.float64], title: str
) -> Figure:
    """Observed share of malignant images by score, with Wilson's intervals, above a histogram."""
    figure = _figure((6.0, 7.2), title)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for axes in (above, below):
        _plain(axes)
    above.plot([0, 1], [0, 1], color=_FAINT, linewidth=0.8, label="perfect")
    bins = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    means, shares = [], []
    for number in np.unique(bins):
        inside = bins == number
        means.append(float(scores[inside].mean()))
        shares.append(Proportion(int(labels[inside].sum()), int(inside.sum())))
    values = np.array([share.value for share in shares])
    low = values - [share.lower for share in shares]
    high = [share.upper for share in shares] - values
    above.errorbar(
        means, values, yerr=np.clip([low, high], 0, None), fmt="o-", color=COLOURS[0], capsize=3,
        linewidth=1.4, label="observed, 95 % interval",
    )  # fmt: skip
    above.set_ylabel("observed share of malignant images")
    above.set(ylim=(-0.02, 1.02))
    above.legend(loc="upper left", fontsize=8.5)
    edges = np.linspace(0, 1, 2 * _BINS + 1)
    both = [scores[labels == 0], scores[labels == 1]]
    below.hist(
        both, edges, stacked=True, color=[COLOURS[5], COLOURS[1]], label=["benign", "malignant"]
    )
    below.set_xlabel("malignant probability that the model gives")
    below.set_ylabel("images")
    below.set(xlim=(-0.02, 1.02))
    below.legend(fontsize=8.5)
    return figure


def curves_figure(
    panels: Mapping[str, Mapping[str, NDArray[np.float64]]], x_label: str, y_label: str, title: str
) -> Figure:
    """Panels side by side, each with curves ``(N + 1,)`` over 0–1 by name."""
    figure = _figure((5.4 * len(panels), 5.0), title)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, curves) in zip(grid, panels.items(), strict=True):
        _plain(axes)
        for index, (label, curve) in enumerate(curves.items()):
            x = np.linspace(0, 1, curve.size)
            dashes, colour = _DASHES[index % len(_DASHES)], COLOURS[index % len(COLOURS)]
            axes.plot(x, curve, color=colour, linestyle=dashes, linewidth=1.8, label=label)
        axes.set_title(name, fontsize=10)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.set_xlabel(x_label)
    grid[0].set_ylabel(y_label)
    grid[-1].legend(fontsize=8.5)
    return figure


def distance_figure(groups: Mapping[str, NDArray[np.float64]], limit: float, title: str) -> Figure:
    """Histograms of distances by group, on a logarithmic axis, with the limit as a line."""
    figure, axes = _axes((7.0, 4.6), title)
    values = np.concatenate(list(groups.values()))
    edges = np.geomspace(values.min() * 0.95, values.max() * 1.05, 40).tolist()
    for index, (name, distances) in enumerate(groups.items()):
        weights = np.full(distances.size, 1 / distances.size)
        colour = COLOURS[index % len(COLOURS)]
        axes.hist(distances, edges, weights=weights, color=colour, alpha=0.65, label=name)
    axes.axvline(limit, color="black", linestyle="--", linewidth=1.2, label=f"limit {limit:.3f}")
    axes.set_xscale("log")
    axes.set_xlabel("distance")
    axes.set_ylabel("share of the group's images")
    axes.legend(fontsize=8.5)
    return figure


def save_figure(figure: Figure, stem: Path) -> None:
    """Write ``stem.png`` and ``stem.svg``; the same figure gives the same bytes."""
    with mpl.rc_context({"svg.hashsalt": "secondread"}):
        figure.savefig(stem.with_suffix(".png"), dpi=_DOTS_PER_INCH)
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})


def _figure(size: tuple[float, float], title: str) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(title, round(11 * size[0])), fontsize=11)
    return figure


def _axes(size: tuple[float, float], title: str) -> tuple[Figure, Axes]:
    figure = _figure(size, title)
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
