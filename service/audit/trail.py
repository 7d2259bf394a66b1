"""The audit trail: one JSON line an event, in ``audit/`` of the data folder, a file a day."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from service.audit.messages import Message
from service.monitoring.metrics import Metrics

log = logging.getLogger(__name__)


class AuditTrail:
    """Appends; safe for several threads and processes, for a line is one write.

    The line is handed to the operating system before the event goes on (for an image: before its
    Success), so that a process that is killed loses none. It is not synced: a power cut may take
    the last seconds. A line that cannot be written is counted and logged, and stops nothing: an
    image matters more than its trail. If a full disk has left half of one, the next starts anew;
    so it may after a line that another process is just writing, which leaves an empty one.
    """

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        self._folder = folder
        self._metrics = metrics

    def write(self, message: Message) -> None:
        line = f"{json.dumps(message, separators=(',', ':'), ensure_ascii=True)}\n".encode()
        path = self._folder / f"{datetime.now(UTC):%Y-%m-%d}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                self._hand_over(path)
                if _ends_in_mid_line(descriptor):
                    line = b"\n" + line
                written = os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            written = 0
            log.error("an audit message is not written: %s", type(error).__name__)
        whole = written == len(line)
        self._metrics.audit_messages.labels("written" if whole else "failed").inc()

    def _hand_over(self, path: Path) -> None:
        """What root begins, by a command, is the service's all the same."""
        if os.geteuid() == 0:
            owner = self._folder.parent.stat()
            for each in (self._folder, path):
                if each.stat().st_uid != owner.st_uid:
                    with suppress(OSError):
                        os.chown(each, owner.st_uid, owner.st_gid)


def _ends_in_mid_line(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
