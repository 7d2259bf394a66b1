"""What it costs ingest to keep images in a bucket in place of its own disk.

The store is OpenStack Swift, one process on the same two cores and the same disk: a store on
machines of its own takes less of ours, and adds its network.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from rich.progress import track

from tests.bench.figure import Figure, Peer
from tests.bench.ingest import _ours, _Sender, _template, _Took
from tests.conftest import running
from tests.s3.server import S3Server

_IMAGES = {1: 20, 4: 40, 16: 80}
"""By the number of associations: sent in a turn, by all together."""
_WORDS = {"raw": "2.4 MB uncompressed", "jpeg": "0.2 MB JPEG"}


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """Medians of turns in which both get the same files."""
    return [
        figure
        for kind, words in _WORDS.items()
        for figure in _compared(scratch / kind, kind, words, 1 if quick else 5)
    ]


def _compared(folder: Path, kind: str, words: str, turns: int) -> list[Figure]:
    load = os.getloadavg()[0]
    (folder / "swift").mkdir(parents=True)
    taken: dict[tuple[str, int], list[_Took]] = {}
    with running(S3Server(folder / "swift")) as s3:
        keys = (
            f'spool.bucket = "{s3.make_bucket()}"\nspool.endpoint = "{s3.url}"\n'
            f'spool.credentials_file = "{s3.write_credentials(folder / "credentials")}"\n'
        )
        sender = _Sender(folder, _template(kind))
        with _ours(folder / "disk") as disk, _ours(folder / "bucket", keys) as bucket:
            for number in track(range(turns + 1), description=f"spool {kind}"):
                for parallel, images in _IMAGES.items():
                    files = sender.files(images, parallel)
                    for name, peer in (("disk", disk), ("bucket", bucket)):
                        took = sender.send(peer, files)
                        if number:  # the first turn warms both up
                            taken.setdefault((name, parallel), []).append(took)
                    sender.forget()
    return [_figure(words, parallel, taken, load) for parallel in _IMAGES]


def _figure(
    words: str, parallel: int, taken: dict[tuple[str, int], list[_Took]], load: float
) -> Figure:
    def median(name: str, what: str) -> float:
        return statistics.median(getattr(took, what) for took in taken[name, parallel])

    return Figure(
        f"{words}, {parallel} association{'s' if parallel > 1 else ''}, into a bucket",
        median("bucket", "rate"),
        "images/s",
        peer=Peer("own disk", median("disk", "rate")),
        load=load,
        detail=f"CPU ms an image: {median('bucket', 'cpu_ms'):.1f}, own disk"
        f" {median('disk', 'cpu_ms'):.1f}",
    )
