"""The flow as the picture that a paper prints: who is left goes down, who is excluded right."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from model_export.preparation.flow import Count, Exclusion, Flow

_WIDTH, _LINE, _PAD, _GAP = 8.5, 0.19, 0.12, 0.28
"""Inches: of the picture, of a line of text, around the text in a box, between two boxes."""
_MIDDLE, _LEFT_WIDTH = 2.0, 3.4
_RIGHT, _RIGHT_WIDTH = 6.25, 4.1
_FONT = 9


def draw_flow(flow: Flow, paths: Sequence[Path]) -> None:
    """Write the picture to each path; its ending chooses the format."""
    stages = [list(steps) for _, steps in groupby(flow.exclusions, lambda step: step.stage)]
    parts = [(name, part) for name, part in flow.parts.items() if part.images]
    texts = [_excluded(steps) for steps in stages]
    height = _box_height(_counted("", flow.found)) * (1 + len(stages)) + 2 * _GAP
    height += sum(_box_height(text) + 2 * _GAP for text in texts)
    height += 2 * _GAP + _box_height(_counted("", flow.included))
    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(-height, 0))
    axes.set_axis_off()
    y = _box(axes, _MIDDLE, -_GAP, _LEFT_WIDTH, _counted("Files found", flow.found))
    for steps, text in zip(stages, texts, strict=True):
        last = steps is stages[-1]
        below = y - 2 * _GAP - _box_height(text)
        _arrow(axes, (_MIDDLE, y), (_MIDDLE, below))
        middle = (y + below) / 2
        _arrow(axes, (_MIDDLE, middle), (_RIGHT - _RIGHT_WIDTH / 2, middle))
        _box(axes, _RIGHT, y - _GAP, _RIGHT_WIDTH, text)
        title = "Included" if last else "Left"
        y = _box(axes, _MIDDLE, below, _LEFT_WIDTH, _counted(title, steps[-1].remaining))
    width = (_WIDTH - _GAP) / 3 - _GAP
    for place, (name, part) in enumerate(parts):
        x = _WIDTH / 2 + (place - (len(parts) - 1) / 2) * (width + _GAP)
        _arrow(axes, (_MIDDLE, y), (x, y - 2 * _GAP))
        _box(axes, x, y - 2 * _GAP, width, _counted(name.capitalize(), part))
    # The same flow is the same file: no date, no random identifiers.
    with matplotlib.rc_context({"svg.hashsalt": "flow", "svg.fonttype": "none"}):
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=150, metadata=metadata)


def _counted(title: str, of: Count) -> list[str]:
    return [title, _number(of.images, "image"), _lesions(of)]


def _lesions(of: Count) -> str:
    return f"{_number(of.lesions, 'lesion')}, {_number(of.patients, 'patient')}"


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _excluded(steps: Sequence[Exclusion]) -> list[str]:
    lines = [f"{steps[0].stage}: excluded"]
    for step in steps:
        gone = _number(step.excluded.images, "image")
        lines += [f"{step.text}:", f"    {gone}, {_lesions(step.excluded)}"]
    return lines


def _box_height(lines: Sequence[str]) -> float:
    return len(lines) * _LINE + 2 * _PAD


def _box(axes: Axes, x: float, top: float, width: float, lines: Sequence[str]) -> float:
    """A box with its middle at ``x``, its upper edge at ``top``; returns its lower edge."""
    height = _box_height(lines)
    corner = (x - width / 2, top - height)
    axes.add_patch(_rectangle(corner, width, height))
    for number, line in enumerate(lines):
        axes.text(
            corner[0] + _PAD,
            top - _PAD - (number + 0.5) * _LINE,
            line,
            fontsize=_FONT,
            fontweight="bold" if number == 0 else "normal",
            verticalalignment="center",
        )
    return top - height


def _rectangle(corner: tuple[float, float], width: float, height: float) -> Rectangle:
    return Rectangle(corner, width, height, facecolor="white", edgecolor="black", linewidth=0.8)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "->", "linewidth": 0.8})
