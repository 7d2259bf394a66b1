"""One image's way from C-STORE Success to SR and SC in the archive, by stage; and a whole study's.

The archive is ours and lies in the bench's own process, so that what it costs is in the figures.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from service.demo import Demonstration, SentFile, demonstration
from service.journal.records import ImageState
from tests.bench.figure import Figure, Peer
from tests.bench.scans import Scans

_IMAGES, _QUICK_IMAGES = 30, 3
_STUDIES, _QUICK_STUDIES = 5, 1
_IMAGES_A_STUDY = 7
_TIMEOUT = 60.0
_PUBLISHED_SECONDS = 67.0
_PUBLISHED = (
    "MONAI Deploy as published: 7 images, other machines, 30 s of them in an application that waits"
)
_ANALYSIS = ("decode", "screen", "inference", "report")


@dataclass(frozen=True)
class _Way:
    """Seconds by stage, in their order; together they are the whole."""

    stages: dict[str, float]

    @property
    def overhead(self) -> float:
        return sum(self.stages.values()) - self.stages["inference"]


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """Send to an idle service one new image at a time, then whole studies."""
    load = os.getloadavg()[0]
    scans = Scans()
    with demonstration(scratch / "pacs") as running:
        count = _QUICK_IMAGES if quick else _IMAGES
        ways = [_go(running, scans, scratch) for _ in track(range(count + 1), description="road")]
        studies = _QUICK_STUDIES if quick else _STUDIES
        spent = [_go_together(running, scans, scratch) for _ in range(studies)]
    return [*_overheads(ways[1:], load), *_stages(ways[1:], load), *_studies(spent, load)]


def _go(running: Demonstration, scans: Scans, scratch: Path) -> _Way:
    answered: list[float] = []
    path = scans.save(scratch / "scan.dcm")
    (sent,) = running.send([path], lambda _: answered.append(time.time()))
    running.wait([sent], _TIMEOUT)
    row = running.row(sent)
    if (
        row is None
        or row.state is not ImageState.DELIVERED
        or row.outcome is None
        or row.analysis_started_at is None
        or row.analysed_at is None
    ):
        raise RuntimeError("an image was not delivered")
    started, analysed = row.analysis_started_at.timestamp(), row.analysed_at.timestamp()
    parts = {name: row.outcome.stage_seconds.get(name, 0.0) for name in _ANALYSIS}
    time.sleep(0.2)
    return _Way(
        {
            "from the answer until a worker has it": started - answered[0],
            **parts,
            "files of the results, and their rows": analysed - started - sum(parts.values()),
            "from there into the archive": _stored(running, sent) - analysed,
        }
    )


def _stored(running: Demonstration, sent: SentFile) -> float:
    """When the archive had the last of an image's results."""
    row = running.row(sent)
    objects = row.outcome.objects if row and row.outcome else ()
    paths = [running.in_archive(str(sent.key), item) for item in objects]
    if not paths or not all(paths):
        raise RuntimeError("a result is not in the archive")
    return max(path.stat().st_ctime for path in paths if path)


def _go_together(running: Demonstration, scans: Scans, scratch: Path) -> tuple[float, float]:
    """Seconds from the first byte sent until all results, and until the summary, are stored."""
    paths = scans.study(scratch, _IMAGES_A_STUDY)
    began = time.time()
    sent = running.send(paths, lambda _: None)
    running.wait(sent, _TIMEOUT)
    results = max(_stored(running, each) for each in sent) - began
    running.wait_for_summaries(_TIMEOUT)
    return results, time.time() - began


def _overheads(ways: Sequence[_Way], load: float) -> list[Figure]:
    milliseconds = sorted(1000 * way.overhead for way in ways)
    p95 = milliseconds[min(len(milliseconds) - 1, round(0.95 * len(milliseconds)))]
    inference = statistics.median(way.stages["inference"] for way in ways)
    detail = f"{len(ways)} images, inference {1000 * inference:.0f} ms"
    median = statistics.median(milliseconds)
    name = "overhead of the road beyond the inference"
    return [
        Figure(f"{name}, median", median, "ms", "≤ 100", load=load, detail=detail),
        Figure(f"{name}, 95th percentile", p95, "ms", "≤ 250", load=load, detail=detail),
    ]


def _stages(ways: Sequence[_Way], load: float) -> list[Figure]:
    figures = []
    for stage in ways[0].stages:
        spent = sorted(1000 * way.stages[stage] for way in ways)
        detail = f"from {spent[0]:.1f} to {spent[-1]:.1f}"
        figures.append(
            Figure(f"median of: {stage}", statistics.median(spent), "ms", load=load, detail=detail)
        )
    return figures


def _studies(spent: Sequence[tuple[float, float]], load: float) -> list[Figure]:
    results = statistics.median(result for result, _ in spent)
    summary = statistics.median(until for _, until in spent)
    detail = (
        f"{len(spent)} studies of {_IMAGES_A_STUDY} images, 17 MB, one association; the summary"
        f" too after {summary:.1f} s, of which it waits 2 s for the study to be quiet"
    )
    peer = Peer(_PUBLISHED, _PUBLISHED_SECONDS)
    name = "a study, from its first byte to its last SR and SC in the archive"
    return [Figure(name, results, "s", peer=peer, load=load, detail=detail)]
