"""What a crash left on disk: images that no row knows are adopted, all else is removed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pynetdicom.dsutils import split_dataset

from service.commitment.verdict import content_of
from service.config import Settings
from service.ingest.data_set import study_identity
from service.journal.journal import Journal
from service.journal.records import ReceivedImage
from service.monitoring.metrics import Metrics
from service.sop_classes import ignored_reason
from service.spool import Spool, image_key, image_name

log = logging.getLogger(__name__)

UNREADABLE = "unreadable-in-spool"
"""Reason code of a file without a row that is not what its name says."""

_SHARDS = 256
"""Of ``images/`` and of ``results/``: 00 to ff."""
_HEAD_BYTES = 1 << 16


class Sweeper:
    """Looks at a part of the spool each time, at all of it in ``keeper.sweep_seconds``.

    An image without a row was not acknowledged: ingest died between file and row. To remove it
    could take it from the scanner's next attempt at this very moment; so it gets its row, and
    that attempt is a duplicate.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        journal: Journal,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._age = settings.keeper.sweep_age
        self._shards_per_second = _SHARDS / settings.keeper.sweep_seconds
        self._spool = spool
        self._journal = journal
        self._metrics = metrics
        self._clock = clock
        self._started = clock()
        self._done = 0
        self._seen_before: dict[str, float] = {}
        self._seen: dict[str, float] = {}

    def sweep(self) -> None:
        """The shards that are due since the last call. Raises JournalError, OSError."""
        due = int((self._clock() - self._started) * self._shards_per_second)
        for number in range(max(self._done, due - _SHARDS), due):
            self._done = number + 1
            if number % _SHARDS == 0:
                self._seen_before, self._seen = self._seen, {}
                self._remove_old(self._spool.incoming.glob("*.tmp"))
            shard = f"{number % _SHARDS:02x}"
            self._sweep_images(shard)
            self._sweep_results(shard)

    def _sweep_images(self, shard: str) -> None:
        keys = self._spool.image_keys(shard)
        for key in sorted(set(keys) - self._journal.known_images(keys)):
            if not self._is_old(image_name(key)):
                continue
            image = _described(key, self._spool)
            self._journal.record_received(image)
            if image.ignored_reason == UNREADABLE:
                self._metrics.swept.labels("unreadable").inc()
                log.error("%s is no image that was received: it is kept, and ignored", key)
            else:
                self._metrics.swept.labels("adopted").inc()
                log.warning("%s adopted: ingest died between its file and its row", key)

    def _sweep_results(self, shard: str) -> None:
        parcels = self._spool.parcels(shard)
        known = self._journal.known_parcels(parcels)
        for parcel in parcels:
            if parcel in known:
                self._remove_old(self._spool.left_overs(parcel))
            elif self._is_old(f"results/{parcel}"):
                self._spool.remove_parcel(parcel)
                self._metrics.swept.labels("removed").inc()
                log.warning("%s removed: a worker died before it could record it", parcel)

    def _remove_old(self, paths: Iterator[Path]) -> None:
        for path in paths:
            if self._is_old(str(path)):
                path.unlink(missing_ok=True)
                self._metrics.swept.labels("removed").inc()

    def _is_old(self, name: str) -> bool:
        """By our own watch since we saw it first, for a clock that jumps makes every file old.

        What was not there in one round is forgotten.
        """
        now = self._clock()
        first = self._seen_before.get(name, now)
        self._seen[name] = first
        return now - first >= self._age


def _described(key: str, spool: Spool) -> ReceivedImage:
    """As ingest would have recorded it; ignored as UNREADABLE if it is not what its name says."""
    received_at, path = spool.kept_since(key), spool.kept_image(key)
    size = path.stat().st_size if path.is_file() else 0
    unreadable = ReceivedImage(
        key, "", "", "", "", size, "", received_at, ignored_reason=UNREADABLE
    )
    content = content_of(path)
    if content is None:
        return unreadable
    size_bytes, digest = content
    try:
        meta, offset = split_dataset(path)
        sop_class_uid, uid = str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID)
        transfer_syntax_uid = str(meta.TransferSyntaxUID)
        with path.open("rb") as stream:
            stream.seek(offset)
            head = stream.read(_HEAD_BYTES)
    except Exception:  # noqa: BLE001 whatever pydicom finds in it
        return unreadable
    if image_key(uid, transfer_syntax_uid, digest) != key:
        return unreadable
    return ReceivedImage(
        key=key,
        sop_instance_uid=uid,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        digest=digest,
        size_bytes=size_bytes,
        calling_ae_title="",
        received_at=received_at,
        ignored_reason=ignored_reason(sop_class_uid),
        study_instance_uid=study_identity(head, transfer_syntax_uid),
    )
