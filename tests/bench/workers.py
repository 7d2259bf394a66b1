"""A backlog of images and one, two and four analysis workers of one thread each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
import uuid
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pydicom

from service.config import Settings
from service.health import is_healthy
from service.journal.journal import Journal
from service.journal.records import ImageState, ReceivedImage
from service.queue.publisher import Publisher
from service.spool import Spool
from tests.bench.figure import Figure, Peer
from tests.bench.scans import Scans
from tests.conftest import RedisServer, _free_port, running, wait_until

_WORKERS, _QUICK_WORKERS = (1, 2, 4), (1, 2)
_IMAGES, _QUICK_IMAGES = 60, 6
_SECONDS = 300.0


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """The reference model; from the first image that is analysed to the last."""
    load = os.getloadavg()[0]
    images = _QUICK_IMAGES if quick else _IMAGES
    rates = {
        workers: _rate(scratch / str(workers), workers, images)
        for workers in (_QUICK_WORKERS if quick else _WORKERS)
    }
    cores = len(os.sched_getaffinity(0))
    return [
        Figure(
            f"{workers} analysis worker{'s' if workers > 1 else ''} of one thread",
            rate,
            "images/s",
            peer=Peer("one worker", rates[1]) if workers > 1 else None,
            load=load,
            detail=f"a backlog of {images} images, {cores} cores",
        )
        for workers, rate in rates.items()
    ]


def _rate(folder: Path, workers: int, images: int) -> float:
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        (folder / "redis").mkdir()
        broker = stack.enter_context(running(RedisServer(folder / "redis")))
        config = folder / "secondread.toml"
        config.write_text(
            f'data_dir = "{folder / "data"}"\nlog_level = "ERROR"\n'
            f'[broker]\nurl = "{broker.url}"\n'
            "[analysis]\nthreads = 1\nconcurrency = 1\n"
        )
        settings = Settings.model_validate(tomllib.loads(config.read_text()))
        journal = stack.enter_context(closing(Journal(settings.journal_url)))
        settings.data_dir.mkdir()
        journal.migrate()
        publisher = stack.enter_context(closing(Publisher(settings.broker_url)))
        command = [sys.executable, "-m", "service.cli", "worker", "--queue", "analysis"]
        for _ in range(workers):
            port = _free_port()
            environment = {**os.environ, "SECONDREAD_MONITORING__ANALYSIS_PORT": str(port)}
            worker = subprocess.Popen([*command, "--config", str(config)], env=environment)
            stack.callback(worker.wait)
            stack.callback(worker.kill)
            health = f"http://127.0.0.1:{port}/healthz"
            wait_until(lambda: is_healthy(health), 60)  # noqa: B023
        for key in receive(settings, journal, folder, images):
            publisher.analysis(key)
        began = time.monotonic()
        while journal.counts().images[ImageState.ANALYSED] < images:
            if time.monotonic() - began > _SECONDS:
                raise RuntimeError("not every image was analysed")
            time.sleep(0.2)
        ended = sorted(row.analysed_at for row in journal.images(images) if row.analysed_at)
    return (images - 1) / (ended[-1] - ended[0]).total_seconds()


def receive(settings: Settings, journal: Journal, folder: Path, count: int) -> list[str]:
    """Their keys; the files lie in the spool as ingest would leave them."""
    spool, scans = Spool(settings.spool_dir), Scans()
    spool.prepare()
    keys = []
    for _ in range(count):
        path = scans.save(folder / "scan.dcm")
        meta = pydicom.filereader.read_file_meta_info(path)
        key = uuid.uuid4().hex
        temporary = spool.incoming / f"{key}.tmp"
        shutil.copyfile(path, temporary)
        spool.keep_image(key, temporary)
        journal.record_received(
            ReceivedImage(
                key=key,
                sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
                sop_class_uid=str(meta.MediaStorageSOPClassUID),
                transfer_syntax_uid=str(meta.TransferSyntaxUID),
                digest=key * 2,
                size_bytes=path.stat().st_size,
                calling_ae_title="SCANNER",
                received_at=datetime.now(UTC),
            )
        )
        keys.append(key)
    return keys
