"""The second PACS: keeps count, and has moods."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from pathlib import Path

from pynetdicom import evt

from service.storage_scp import LocalArchive
from tests.chaos.relay import Relay


class MoodyArchive(LocalArchive):
    """mood: what it does with objects now: ``""`` stores, ``hang``, ``drop`` (once it has the
    object), or a status.

    It is reached through ``relay``, which can cut a connection in mid-object.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(folder, port=port)
        self.mood: str | int = ""
        self.came: Counter[str] = Counter()
        self.met = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        super().start()
        self.relay = Relay(super().port)

    def stop(self, drain: float = 0.0) -> None:
        self.relay.stop()
        super().stop(drain)

    @property
    def port(self) -> int:
        return self.relay.port

    def store(self, event: evt.Event) -> int:
        mood = self.mood
        if mood != "":
            self.met += 1
        if mood == "hang":
            time.sleep(4)
        if mood == "drop":
            connection = event.assoc.dul.socket.socket
            if connection is not None:
                connection.shutdown(socket.SHUT_RDWR)
            return 0x0110
        if isinstance(mood, int):
            return mood
        status = super().store(event)
        if status == 0:
            with self._lock:
                self.came[str(event.request.AffectedSOPInstanceUID)] += 1
        return status
