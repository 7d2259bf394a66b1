"""``secondread doctor``: what could keep the service from working, looked at one by one."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO

from service.analysis.inference import InferenceError, Scorer
from service.analysis.model_package import ModelPackageError
from service.analysis.model_store import ModelStore
from service.config import ConfigurationError, Settings
from service.destination_check import Finding, look_at
from service.iod_check import IodCheck
from service.journal.journal import Journal, JournalError
from service.queue.broker import Broker
from service.queue.publisher import BrokerUnavailable
from service.spool import StoreError
from service.spool_opening import open_store

_APART_SECONDS = 5.0
"""Clocks that differ by more make leases and times of results wrong."""
_YEAR = 2026
"""Before it this was not written yet."""


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything that the configuration names; nothing is changed but a file written
    into the data folder, and an object into the bucket, and removed again."""
    yield _configuration(settings)
    yield _disk(settings)
    if settings.spool.bucket:
        yield _store(settings)
    yield _journal(settings)
    yield from _broker_and_clock(settings)
    yield _model(settings)
    yield _validator(settings)
    if not settings.destinations:
        advice = "name your PACS under [[destinations]]"
        yield Finding("destinations", False, "there are none: results go nowhere", advice)
    for destination in settings.destinations:
        yield look_at(destination, settings)


def _configuration(settings: Settings) -> Finding:
    if exposed := settings.exposed_files():
        names = ", ".join(path.name for path in exposed)
        return Finding(
            "configuration", False, f"everybody can read {names}", "chmod 600 these files"
        )
    if not settings.ingest.peers:
        advice = "list your scanners under [[ingest.peers]]"
        return Finding("configuration", None, "only this machine may send images", advice)
    return Finding("configuration", True, f"{len(settings.ingest.peers)} rules for who may send")


def _disk(settings: Settings) -> Finding:
    folder = settings.data_dir
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            began = time.perf_counter()
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
            milliseconds = 1000 * (time.perf_counter() - began)
    except OSError as error:
        advice = "give the service's user write access to data_dir"
        return Finding("disk", False, f"{folder} cannot be written: {error.strerror}", advice)
    free = shutil.disk_usage(folder).free
    words = f"{free / 1e9:.0f} GB free, a durable write takes {milliseconds:.1f} ms"
    if free < settings.ingest.low_water_bytes:
        advice = "make room: below ingest.low_water_bytes every image is refused"
        return Finding("disk", False, words, advice)
    return Finding("disk", True, words)


def _store(settings: Settings) -> Finding:
    """As a worker would use it: what may not be written is found out before an image comes."""
    advice = "look at spool.bucket, spool.endpoint and who may do what in the bucket"
    name, content = f"doctor/{uuid.uuid4().hex}", b"\0" * 4096
    try:
        store = open_store(settings)
        store.check()
        began = time.perf_counter()
        store.put(name, BytesIO(content))
        milliseconds = 1000 * (time.perf_counter() - began)
        store.get(name, BytesIO())
        store.remove([name])
    except (ConfigurationError, StoreError) as error:
        return Finding("spool", False, str(error), advice)
    words = f"the bucket {settings.spool.bucket}, a durable write takes {milliseconds:.1f} ms"
    endpoint = settings.spool.endpoint
    if endpoint is not None and endpoint.scheme == "http":
        return Finding("spool", None, f"{words}, unencrypted", "give it TLS, or a network alone")
    return Finding("spool", True, words)


def _journal(settings: Settings) -> Finding:
    with closing(Journal(settings.journal_url)) as journal:
        try:
            journal.check()
            counts = journal.counts()
        except JournalError as error:
            started = settings.data_dir.exists()
            advice = "" if started else "it is made when the service starts"
            return Finding("journal", False if started else None, str(error), advice)
    return Finding("journal", True, f"{sum(counts.images.values())} images")


def _broker_and_clock(settings: Settings) -> Iterator[Finding]:
    """The broker may be another machine's, and then its clock too."""
    apart = None
    try:
        with closing(Broker(settings.broker_url)) as broker:
            apart = abs(time.time() - broker.clock())
    except BrokerUnavailable as error:
        if settings.embedded_broker:
            advice = "the embedded one runs while `up` does"
            yield Finding("broker", None, str(error), advice)
        else:
            advice = "is it running, is broker.url right?"
            yield Finding("broker", False, str(error), advice)
    else:
        yield Finding("broker", True, "it answers")
    yield _clock(apart)


def _clock(apart: float | None) -> Finding:
    """apart: seconds from the broker's, None if that one does not answer."""
    now = datetime.now(UTC)
    if now.year < _YEAR:
        return Finding("clock", False, f"it says {now:%Y-%m-%d}", "set it, and run an NTP client")
    words = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if apart is None:
        return Finding("clock", None, f"{words}; nobody to compare it with")
    words += f", {apart:.1f} s from the broker's"
    if apart > _APART_SECONDS:
        return Finding("clock", False, words, "run an NTP client on both machines")
    return Finding("clock", True, words)


def _model(settings: Settings) -> Finding:
    """Loading it compares the model file with the digest in its manifest, and scores once."""
    began = time.perf_counter()
    try:
        package = ModelStore(settings).active()
        with closing(Scorer(package, settings.analysis)) as scorer:
            provider, wrong = scorer.provider, scorer.what_is_wrong()
    except (ModelPackageError, InferenceError) as error:
        return Finding("model", False, str(error), "")
    if wrong is not None:
        return Finding("model", False, wrong, "is it running, is analysis.triton.url right?")
    manifest = package.manifest
    words = (
        f"{manifest.name} {manifest.version}, digest {manifest.sha256[:12]}…, on {provider},"
        f" loaded in {time.perf_counter() - began:.1f} s"
    )
    return Finding("model", True, words)


def _validator(settings: Settings) -> Finding:
    if not settings.results.dciodvfy:
        return Finding("dciodvfy", None, "switched off by results.dciodvfy")
    if not IodCheck.available():
        advice = "apt-get install dicom3tools, for a second check of every object"
        return Finding("dciodvfy", None, "it is not installed", advice)
    return Finding("dciodvfy", True, "it is installed")
