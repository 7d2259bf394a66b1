"""The report of a soak: JSON, Markdown, a chart."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.accounts import Accounts

from .chart import svg
from .sampling import ProcessSample, SiteSample
from .verdict import WARM_UP, Judged

_UNITS = {"rss": ("MB", 1 << 20), "disk": ("kB an image", 1000.0), "lag": ("s", 1.0)}


@dataclass
class Soak:
    """What was asked for, and what came of it."""

    minutes: float
    seed: int
    rate: float
    profile: str
    processes: list[ProcessSample] = field(default_factory=list)
    site: list[SiteSample] = field(default_factory=list)
    faults: list[tuple[float, str]] = field(default_factory=list)
    not_made: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    accounts: Accounts | None = None
    replayed: int = 0
    missed_samples: int = 0
    cores: float = 0.0


def _unclean(soak: Soak) -> list[str]:
    accounts = soak.accounts
    if accounts is None:
        return ["no accounts were settled"]
    return [*accounts.lost, *accounts.doubled, *accounts.orphans, *accounts.inconsistent]


def is_good(soak: Soak) -> bool:
    grows = any(each.grows for each in soak.judged)
    return not grows and not soak.problems and not _unclean(soak)


def _headline(soak: Soak) -> str:
    if not is_good(soak):
        return "Not good"
    if any(each.growth is None for each in soak.judged) or not soak.judged:
        return "Clean, but too short to say of everything whether it grows"
    return "Nothing grows"


def figures(soak: Soak) -> dict[str, Any]:
    accounts = soak.accounts or Accounts()
    return {
        "minutes": soak.minutes,
        "seed": soak.seed,
        "rate": soak.rate,
        "profile": soak.profile,
        "good": is_good(soak),
        "acknowledged": accounts.acknowledged,
        "lost": len(accounts.lost),
        "doubled": len(accounts.doubled),
        "orphans": len(accounts.orphans),
        "inconsistent": len(accounts.inconsistent),
        "retransmissions": accounts.retransmissions,
        "replayed_by_the_operator": soak.replayed,
        "faults": dict(sorted(Counter(kind for _, kind in soak.faults).items())),
        "faults_not_made": soak.not_made,
        "cores": round(soak.cores, 3),
        "samples": len(soak.site),
        "samples_missed": soak.missed_samples,
        "growth": [
            {
                "program": each.program,
                "measure": each.measure,
                "median": round(each.level, 3),
                "growth_an_hour": None if each.growth is None else round(each.growth, 3),
                "limit_an_hour": round(each.limit, 3),
                "watched_seconds": round(each.seconds),
                "grows": each.grows,
            }
            for each in soak.judged
        ],
        "problems": soak.problems,
        "details": _unclean(soak)[:50],
        "fault_times": [[round(at), kind] for at, kind in soak.faults],
        "site": [vars(each) for each in soak.site],
        "processes": [vars(each) for each in soak.processes],
    }


def markdown(soak: Soak) -> str:
    told = figures(soak)
    lines = [
        f"# Soak: {soak.minutes:g} minutes, {soak.rate:g} images/s, {soak.profile},"
        f" seed {soak.seed}",
        "",
        f"**{_headline(soak)}**: {told['acknowledged']} images"
        f" acknowledged, {told['lost']} lost, {told['doubled']} doubled, {told['orphans']} orphans,"
        f" {told['inconsistent']} inconsistent, {told['retransmissions']} retransmissions,"
        f" {told['replayed_by_the_operator']} replayed. {sum(told['faults'].values())} faults."
        f" The service used {told['cores']:.2f} cores.",
        "",
        f"Growth is the Theil–Sen slope after the first {WARM_UP:.0%}; a process is judged by its"
        " longest life there. A dash: watched too shortly to say.",
        "",
        "| program | measure | median | growth an hour | limit | watched, min |",
        "|---|---|---|---|---|---|",
    ]
    for each in soak.judged:
        unit, size = _UNITS.get(each.measure, ("", 1.0))
        growth = "–" if each.growth is None else f"{each.growth / size:+.2f}"
        mark = " **grows**" if each.grows else ""
        lines.append(
            f"| {each.program} | {each.measure} {unit} | {each.level / size:.2f} | {growth}{mark} |"
            f" {each.limit / size:.2f} | {each.seconds / 60:.0f} |"
        )
    lines += ["", "| fault | times |", "|---|---|"]
    lines += [f"| {kind} | {number} |" for kind, number in told["faults"].items()]
    for title, texts in (
        ("Not made", soak.not_made),
        ("Problems", soak.problems),
        ("Details", told["details"]),
    ):
        if texts:
            lines += ["", f"## {title}", "", *(f"- {text}" for text in texts)]
    return "\n".join(lines) + "\n"


def write(soak: Soak, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(figures(soak), indent=1) + "\n")
    (folder / "report.md").write_text(markdown(soak))
    (folder / "chart.svg").write_text(svg(soak.processes, soak.site, soak.faults))
