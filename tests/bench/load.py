"""The whole service under load: as on average, at its peak, and until it refuses.

The model is a tiny one, so that what is measured is everything but the inference. The senders are
ours, in this process, and share the machine with the service and with Orthanc.
"""

from __future__ import annotations

import os
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from service.config import Settings
from service.journal.journal import Journal
from service.journal.records import ImageRow, ImageState
from service.scu import AssociationFailed, Peer, storage_object, store_association
from service.supervisor import Supervisor
from tests.bench import queueing
from tests.bench.delivery import running_orthanc
from tests.bench.figure import Figure
from tests.bench.scans import Scans
from tests.conftest import _free_port
from tests.system.conftest import make_small_model

IMAGES_A_STUDY = 10
_STUDIES_AN_HOUR = {"average": 60, "peak": 250}
_SECONDS, _QUICK_SECONDS = 120.0, 15.0
_SENDERS, _EACH, _QUICK_EACH = 12, 100, 15
_PATIENCE_SECONDS = 180.0
_LIMITS = {"max_associations": 4}
_ENDS = {ImageState.DELIVERED, ImageState.IGNORED, ImageState.FAILED}


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    figures = []
    for name, studies in _STUDIES_AN_HOUR.items():
        seconds = _QUICK_SECONDS if quick else _SECONDS
        figures += _steady(scratch / name, name, studies, seconds)
    figures += _stress(scratch / "stress", _QUICK_EACH if quick else _EACH)
    figures += queueing.measure(scratch / "queue", 1000 if quick else 10_000)
    return figures


def _steady(folder: Path, name: str, studies: int, seconds: float) -> list[Figure]:
    """Images one by one at the rate of so many studies an hour."""
    load = os.getloadavg()[0]
    every = 3600 / studies / IMAGES_A_STUDY
    with _service(folder) as service:
        sender = Sender(service.peer, folder / "sent")
        began = time.monotonic()
        for number in range(max(2, round(seconds / every))):
            time.sleep(max(0.0, began + number * every - time.monotonic()))
            sender.send_once()
        rows = service.ended(sender.acknowledged)
    lags = sorted(
        (row.delivered_at - row.received_at) / timedelta(seconds=1)
        for row in rows
        if row.delivered_at is not None
    )
    words = f"{name}, {studies} studies of {IMAGES_A_STUDY} images an hour"
    detail = f"{len(sender.acknowledged)} images, {seconds:.0f} s, refused {sender.refused()}"
    worst = lags[min(len(lags) - 1, round(0.95 * len(lags)))]
    return [
        Figure(f"{words}: received until delivered, p95", worst, "s", load=load, detail=detail),
        _lost(words, sender.acknowledged, rows, load, detail),
    ]


def _stress(folder: Path, each: int) -> list[Figure]:
    """Everybody at once, as fast as it goes, against low limits; who is refused tries again."""
    load = os.getloadavg()[0]
    with _service(folder, **_LIMITS) as service:
        senders = [Sender(service.peer, folder / f"sent-{n}") for n in range(_SENDERS)]
        threads = [threading.Thread(target=sender.insist, args=[each]) for sender in senders]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        received = time.monotonic() - began
        acknowledged = [uid for sender in senders for uid in sender.acknowledged]
        rows = service.ended(acknowledged)
        drained = time.monotonic() - began
    answers = sum((sender.answers for sender in senders), Counter[str]())
    refused = ", ".join(f"{number} times {what}" for what, number in sorted(answers.items()))
    limits = ", ".join(f"{key} {value}" for key, value in _LIMITS.items())
    detail = f"{_SENDERS} senders, {limits}; refused {refused or 'never'}"
    words = "stress"
    return [
        Figure(
            f"{words}: acknowledged",
            len(acknowledged) / received,
            "images/s",
            load=load,
            detail=f"{detail}; each was sent again until it was taken",
        ),
        Figure(
            f"{words}: from C-STORE to the PACS",
            len(acknowledged) / drained,
            "images/s",
            load=load,
            detail=f"{len(acknowledged)} images, the last one delivered after {drained:.0f} s",
        ),
        Figure(
            f"{words}: refusals",
            float(sum(answers.values())),
            "",
            "≥ 1",
            load=load,
            detail="so the limits were reached",
        ),
        _lost(words, acknowledged, rows, load, detail),
    ]


def _lost(
    words: str, acknowledged: Sequence[str], rows: Sequence[ImageRow], load: float, detail: str
) -> Figure:
    delivered = {row.sop_instance_uid for row in rows if row.state is ImageState.DELIVERED}
    lost = len(set(acknowledged) - delivered)
    return Figure(
        f"{words}: acknowledged, not delivered", lost, "", "≤ 0", load=load, detail=detail
    )


@dataclass
class Sender:
    """A scanner. Each image is new by its SOP Instance UID.

    answers: how often which refusal came.
    """

    peer: Peer
    folder: Path
    acknowledged: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self._scans = Scans()

    def refused(self) -> int:
        return sum(self.answers.values())

    def send_once(self) -> None:
        self._send(self._new())

    def insist(self, count: int) -> None:
        """Send so many, each until it is taken."""
        for _ in range(count):
            path = self._new()
            while not self._send(path):
                time.sleep(0.05)

    def _new(self) -> Path:
        return self._scans.save(self.folder / "image.dcm")

    def _send(self, path: Path) -> bool:
        item = storage_object(path)
        contexts = [(item.sop_class_uid, item.transfer_syntax_uid)]
        try:
            with store_association(self.peer, "SCANNER", contexts) as association:
                outcome = association.store(item)
        except AssociationFailed as error:
            self.answers[str(error).partition("rejected ")[1] + "association"] += 1
            return False
        if not outcome.stored:
            self.answers[outcome.text] += 1
            return False
        self.acknowledged.append(item.sop_instance_uid)
        return True


class Service:
    """Everything that ``secondread up`` runs."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        ingest = settings.ingest
        self.peer = Peer(ingest.host, ingest.port, ingest.ae_title)
        self._journal = journal

    def ended(self, sop_instance_uids: Sequence[str]) -> list[ImageRow]:
        """The rows of these images once all have ended, or nothing has moved for long."""
        keys = [key for uid in sop_instance_uids for key in self._journal.keys_of(uid)]
        moved, before = time.monotonic(), -1
        while time.monotonic() - moved < _PATIENCE_SECONDS:
            counts = self._journal.counts().images
            done = sum(counts[state] for state in _ENDS)
            if done >= len(keys):
                break
            if done != before:
                moved, before = time.monotonic(), done
            time.sleep(0.2)
        rows = (self._journal.image(key) for key in keys)
        return [row for row in rows if row is not None]


@contextmanager
def _service(folder: Path, **ingest: int) -> Iterator[Service]:
    with ExitStack() as stack:
        orthanc = stack.enter_context(running_orthanc(folder / "pacs"))
        (folder / "model").mkdir()
        model = make_small_model(folder / "model")
        config = folder / "secondread.toml"
        values = {"port": _free_port(), "low_water_bytes": 0, "max_associations_per_second": 10_000}
        lines = [f'data_dir = "{folder / "data"}"', 'log_level = "ERROR"', "[ingest]"]
        lines += [f"{key} = {value}" for key, value in (values | ingest).items()]
        lines += ["[broker]", f"embedded_port = {_free_port()}"]
        lines += ["[web]", f"port = {_free_port()}"]
        lines += ["[monitoring]", *(f"{part}_port = 0" for part in _PARTS)]
        lines += ["[analysis]", f'model = "{model}"', "threads = 1"]
        lines += ["[results]", "quiet_seconds = 2"]
        lines += ["[[destinations]]", 'name = "pacs"', 'host = "127.0.0.1"']
        lines += [f"port = {orthanc.port}", f'ae_title = "{orthanc.ae_title}"']
        config.write_text("\n".join(lines))
        settings = Settings.model_validate(tomllib.loads(config.read_text()))
        supervisor = Supervisor(settings, config)
        supervisor.start()
        stack.callback(supervisor.stop)
        supervisor.wait_ready(90)
        journal = stack.enter_context(closing(Journal(settings.journal_url)))
        yield Service(settings, journal)


_PARTS = ("ingest", "analysis", "delivery", "keeper", "web")
