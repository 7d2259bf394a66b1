"""The samples as a picture: small multiples over the minutes, faults as thin lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from .sampling import ProcessSample, SiteSample

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 860, 120, 70, 40, 50
_COLOURS = ("#1b6ca8", "#c1440e", "#2a7f3b", "#7b3fa0", "#8a6d00", "#444444", "#00868b")
_MEGABYTE = 1 << 20

Lines = Mapping[str, Sequence[tuple[float, float]]]


def svg(
    processes: Sequence[ProcessSample],
    site: Sequence[SiteSample],
    faults: Sequence[tuple[float, str]],
) -> str:
    panels = [
        ("resident memory, MB", _of(processes, "rss", _MEGABYTE)),
        ("open file descriptors", _of(processes, "files", 1)),
        ("threads", _of(processes, "threads", 1)),
        ("received to delivered, s (median)", {"lag": _values(site, "lag", 1)}),
        ("images not final", {"waiting": _values(site, "waiting", 1)}),
        ("disk for each image, kB", {"disk": _values(site, "disk", 1000)}),
    ]
    longest = max([each.at for each in site] + [each.at for each in processes] + [60.0])
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 150}" height="{height}"'
        ' font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="20" font-size="14">Soak: x is minutes; grey lines are faults</text>',
    ]
    for number, (title, lines) in enumerate(panels):
        parts += _panel(title, lines, _TOP + number * (_HEIGHT + _GAP), longest, faults)
    return "\n".join([*parts, "</svg>", ""])


def _of(
    processes: Sequence[ProcessSample], measure: str, unit: float
) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for each in processes:
        lines[each.program].append((each.at, getattr(each, measure) / unit))
    return lines


def _values(site: Sequence[SiteSample], measure: str, unit: float) -> list[tuple[float, float]]:
    return [
        (each.at, value / unit) for each in site if (value := getattr(each, measure)) is not None
    ]


def _panel(
    title: str, lines: Lines, top: float, longest: float, faults: Sequence[tuple[float, str]]
) -> list[str]:
    highest = max([value for line in lines.values() for _, value in line] + [1e-9]) * 1.05
    bottom = top + _HEIGHT

    def x(at: float) -> float:
        return _LEFT + at / longest * _WIDTH

    def y(value: float) -> float:
        return bottom - value / highest * _HEIGHT

    parts = [f'<text x="{_LEFT}" y="{top - 6}" font-weight="bold">{title}</text>']
    parts += [
        f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{top}" y2="{bottom}" stroke="#dddddd">'
        f"<title>{kind}</title></line>"
        for at, kind in faults
    ]
    parts += [
        f'<path d="M{_LEFT},{top}V{bottom}H{_LEFT + _WIDTH}" fill="none" stroke="black"/>',
        f'<text x="{_LEFT - 6}" y="{top + 10}" text-anchor="end">{highest:.4g}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{_LEFT + _WIDTH}" y="{bottom + 14}" text-anchor="end">{longest / 60:.0f}</text>',
    ]
    for number, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        parts.append(
            f'<text x="{_LEFT + _WIDTH + 10}" y="{top + 12 + 14 * number}" fill="{colour}">'
            f"{name}</text>"
        )
    return parts
