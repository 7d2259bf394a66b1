"""The road's overhead: from C-STORE Success to SR and SC in the archive, less the inference."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from rich.progress import track

from service.demo import demonstration
from service.journal.records import ImageState
from tests.bench.figure import Figure
from tests.bench.scans import Scans


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """Send one image at a time to an idle service; each is new by its SOP Instance UID."""
    images = 3 if quick else 30
    load = os.getloadavg()[0]
    scans = Scans()
    overheads, inferences = [], []
    with demonstration(scratch / "pacs") as running:
        for number in track(range(images + 1), description="road"):
            path = scans.save(scratch / f"{number}.dcm")
            answered: list[float] = []
            sent = running.send([path], lambda _: answered.append(time.time()))  # noqa: B023
            running.wait(sent, timeout=60)
            row = running.row(sent[0])
            if row is None or row.state is not ImageState.DELIVERED or row.outcome is None:
                raise RuntimeError("an image was not delivered")
            stored = max(
                path.stat().st_ctime
                for item in row.outcome.objects
                if (path := running.in_archive(row.key, item)) is not None
            )
            inference = row.outcome.stage_seconds["inference"]
            if number:  # the first one warms the road up
                overheads.append(stored - answered[0] - inference)
                inferences.append(inference)
            time.sleep(0.2)
    milliseconds = sorted(value * 1000 for value in overheads)
    p95 = milliseconds[min(len(milliseconds) - 1, round(0.95 * len(milliseconds)))]
    alone = statistics.median(inferences) * 1000
    detail = f"{images} images, inference {alone:.0f} ms"
    median = statistics.median(milliseconds)
    name = "overhead of the road beyond the inference"
    return [
        Figure(f"{name}, median", median, "ms", "≤ 100", load=load, detail=detail),
        Figure(f"{name}, 95th percentile", p95, "ms", "≤ 250", load=load, detail=detail),
    ]
