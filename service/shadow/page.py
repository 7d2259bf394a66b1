"""The comparison as a page for people: one HTML file with its pictures in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.shadow.comparison import FEW_CASES, Comparison, Level, Point
from service.shadow.figures import FEW
from service.truth.figures import Estimate

MOST_POINTS = 4000
"""So many points a picture shows; of more, an even choice."""
_WIDTH, _HEIGHT, _MARGIN = 460.0, 400.0, 48.0


@dataclass(frozen=True)
class Dot:
    """x, y: in the picture's own units, y downwards. kind: malignant, benign or unknown."""

    x: float
    y: float
    kind: str


@dataclass(frozen=True)
class Line:
    """A straight line across the picture, and what stands at its end."""

    x1: float
    y1: float
    x2: float
    y2: float
    text: str


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Picture:
    """Dots over two axes, in a box of ``width`` × ``height``."""

    title: str
    across: str
    up: str
    dots: tuple[Dot, ...]
    lines: tuple[Line, ...]
    ticks_across: tuple[Tick, ...]
    ticks_up: tuple[Tick, ...]
    width: float = _WIDTH
    height: float = _HEIGHT
    margin: float = _MARGIN


@dataclass(frozen=True)
class _Axes:
    """low, high: of the upward axis; the other one goes from 0 to 1."""

    low: float
    high: float

    def x(self, value: float) -> float:
        return round(_MARGIN + value * (_WIDTH - 2 * _MARGIN), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(_HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN), 1)

    def across(self, height: float) -> Line:
        return Line(self.x(0), self.y(height), self.x(1), self.y(height), signed(height))

    def ticks_across(self) -> tuple[Tick, ...]:
        return tuple(Tick(self.x(step / 4), f"{step / 4:g}") for step in range(5))

    def ticks_up(self) -> tuple[Tick, ...]:
        steps = [self.low + step / 4 * (self.high - self.low) for step in range(5)]
        return tuple(Tick(self.y(value), f"{value:g}".replace("-", "−")) for value in steps)


def page(found: Sequence[Comparison]) -> str:
    """HTML without scripts, and without anything from elsewhere; it names no image and nobody."""
    environment = Environment(
        loader=PackageLoader("service.shadow", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = signed
    environment.filters["interval"] = interval
    environment.filters["p"] = p_text
    return environment.get_template("report.html").render(
        comparisons=[(each, list(_pictures(each))) for each in found],
        few=FEW,
        few_cases=FEW_CASES,
        levels={Level.STUDY: "studies", Level.IMAGE: "images"},
        most=MOST_POINTS,
    )


def signed(value: float | None) -> str:
    """With its sign, three decimals; a dash for none."""
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def interval(estimate: Estimate | None) -> str:
    """A difference with its interval."""
    if estimate is None:
        return "–"
    return f"{signed(estimate.value)} ({signed(estimate.lower)} to {signed(estimate.upper)})"


def p_text(value: float) -> str:
    """As journals print it."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _pictures(found: Comparison) -> Iterator[Picture]:
    if found.agreement is None:
        return
    points = _chosen(found.points)
    axes = _Axes(0, 1)
    yield Picture(
        title="Scores of both",
        across=f"{found.active.name} {found.active.version}",
        up=f"{found.shadow.name} {found.shadow.version}",
        dots=tuple(Dot(axes.x(p.active), axes.y(p.shadow), _kind(p)) for p in points),
        lines=(Line(axes.x(0), axes.y(0), axes.x(1), axes.y(1), "equal"),),
        ticks_across=axes.ticks_across(),
        ticks_up=axes.ticks_up(),
    )
    axes = _Axes(*_reach(found))
    heights = (found.agreement.mean_difference, found.agreement.upper, found.agreement.lower)
    yield Picture(
        title="Difference against mean, with limits of agreement",
        across="mean of both scores",
        up="shadow − active",
        dots=tuple(
            Dot(axes.x((p.active + p.shadow) / 2), axes.y(p.shadow - p.active), _kind(p))
            for p in points
        ),
        lines=tuple(axes.across(height) for height in heights if height is not None),
        ticks_across=axes.ticks_across(),
        ticks_up=axes.ticks_up(),
    )


def _chosen(points: Sequence[Point]) -> list[Point]:
    if len(points) <= MOST_POINTS:
        return list(points)
    return [points[index * len(points) // MOST_POINTS] for index in range(MOST_POINTS)]


def _kind(point: Point) -> str:
    return "unknown" if point.diagnosis is None else point.diagnosis.value


def _reach(found: Comparison) -> tuple[float, float]:
    """The upward axis: as far as points and limits go, the same on both sides of 0."""
    values = [abs(point.shadow - point.active) for point in found.points]
    if found.agreement is not None:
        values += [abs(found.agreement.lower or 0), abs(found.agreement.upper or 0)]
    reach = next(step for step in (0.1, 0.2, 0.5, 1.0, 2.0) if max(values) <= step or step == 2.0)
    return -reach, reach
