"""The study's ROC figure: BI-RADS readings without and with the model, and the model alone."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from model_export.figures import COLOURS, roc_axes
from model_export.reader_study.readings import Reading
from model_export.reader_study.study import ALONE, WITH, WITHOUT, Row, Study, arrays, model_scores

_STYLE = {WITHOUT: (COLOURS[1], "--"), WITH: (COLOURS[0], "-"), ALONE: (COLOURS[2], "-.")}


def study_figure(study: Study) -> Figure:
    """One line a reader and reading; dots are the answers benign or malignant (4A | 4B).

    With several readers the single ones are thin, and the legend tells their mean AUC.
    """
    figure, axes = roc_axes("Reader study: ROC of the BI-RADS reading")
    several = len(study.readings.readers) > 1
    for row in study.rows:
        _draw(axes, study.readings.kept, row, several)
    axes.legend(loc="lower right", fontsize=8.5, framealpha=0.9)
    return figure


def _draw(axes: Axes, readings: Sequence[Reading], row: Row, several: bool) -> None:
    colour, dashes = _STYLE[row.reading]
    label = f"{row.reading}: AUC {row.auc}" if row.auc is not None else row.reading
    point = (1 - row.specificity.value, row.sensitivity.value)
    single = several and row.reading != ALONE and row.reader in {r.reader for r in readings}
    pooled = several and row.reading != ALONE and not single
    if not pooled:
        false, true = _curve(readings, row)
        axes.plot(
            false,
            true,
            color=colour,
            linestyle=dashes,
            linewidth=0.9 if single else 1.8,
            alpha=0.6 if single else 1.0,
            label=None if single else label,
        )
        size = 4 if single else 7
        axes.plot(*point, "o", color=colour, markersize=size, markeredgecolor="white")
        return
    label = f"{row.reading}: mean AUC {row.auc}" if row.auc is not None else row.reading
    axes.plot(
        *point, "D", color=colour, markersize=9, markeredgecolor="white", label=label, zorder=5
    )


def _curve(readings: Sequence[Reading], row: Row) -> tuple[list[float], list[float]]:
    if row.reading == ALONE:
        false, true, _ = roc_curve(*model_scores(readings))
    else:
        data = arrays([reading for reading in readings if reading.reader == row.reader])
        grades = data.grades[0 if row.reading == WITHOUT else 1]
        false, true, _ = roc_curve(data.labels, grades, drop_intermediate=False)
    return false.tolist(), true.tolist()
