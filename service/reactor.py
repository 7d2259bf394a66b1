"""An accepted association whose two threads wait for something to do.

pynetdicom's look every millisecond, each of them: sixteen idle associations took half a core, and
an image that came in meanwhile waited for both.
"""

from __future__ import annotations

import os
import select
import ssl
import threading
from collections.abc import Callable
from queue import Queue
from typing import Any

from pynetdicom.association import Association

_LOOK_SECONDS = 0.5
"""Timers are looked at so often, and so is what nobody rings for."""
DATA_TRANSFER, _AWAITING_CLOSE = "Sta6", "Sta13"
"""States of an association, as pynetdicom names those of PS3.8 section 9.2.1."""


def wait_instead_of_looking(association: Association) -> None:
    """To be called before its threads start.

    The association's own thread waits for messages and for the other one's end, that of its DUL
    for the socket and for what is to be sent. Both look at their timers twice a second.
    """
    dul = association.dul
    bell = _Bell()
    checkpoint = _Checkpoint(
        lambda: dul.to_user_queue.qsize() or association.dimse.msg_queue.qsize()
    )
    association._reactor_checkpoint = checkpoint
    association.dimse.msg_queue = _Ringing(checkpoint.something_happened)
    dul.to_user_queue = _Ringing(checkpoint.something_happened)
    dul.to_provider_queue = _Ringing(bell.ring)

    look, stop, run = dul._is_transport_event, dul.stop_dul, dul.run

    def wait_and_look() -> bool:
        if dul.event_queue.empty() and dul.to_provider_queue.empty() and not dul._kill_thread:
            _wait_for(association, bell)
        return False if dul._process_recv_primitive() else look()

    def ring_and_stop() -> bool:
        if dul.state_machine.current_state == "Sta1":
            dul.kill_dul()
            bell.ring()
        return stop()

    def run_and_tell() -> None:
        try:
            run()
        finally:
            bell.close()
            checkpoint.something_happened()

    dul._is_transport_event = wait_and_look  # type: ignore[method-assign]
    dul.stop_dul = ring_and_stop  # type: ignore[method-assign]
    dul.run = run_and_tell  # type: ignore[method-assign]


def _wait_for(association: Association, bell: _Bell) -> None:
    """Until there is something to read or to send, or a timer may have expired."""
    dul = association.dul
    if dul.state_machine.current_state == _AWAITING_CLOSE:
        return
    connection = dul.socket.socket if dul.socket else None
    if isinstance(connection, ssl.SSLSocket) and connection.pending():
        return
    watched: list[Any] = [bell] if connection is None else [bell, connection]
    try:
        ready, _, _ = select.select(watched, [], [], _LOOK_SECONDS)
    except (OSError, ValueError):  # closed meanwhile; pynetdicom sees that itself
        return
    if bell in ready:
        bell.hush()


class _Bell:
    """Rung by one thread for another that waits in select()."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def ring(self) -> None:
        # Under a lock: the number of a closed descriptor is soon that of another file.
        with self._lock:
            if self._descriptor >= 0:
                os.eventfd_write(self._descriptor, 1)

    def hush(self) -> None:
        os.eventfd_read(self._descriptor)

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1


class _Ringing(Queue[Any]):
    """A queue that says when something is put into it."""

    def __init__(self, ring: Callable[[], None]) -> None:
        super().__init__()
        self._ring = ring

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._ring()


class _Checkpoint(threading.Event):
    """Where the association's thread stands between two looks, and waits for the next.

    is_due: whether there is something to look at already.
    """

    def __init__(self, is_due: Callable[[], object]) -> None:
        super().__init__()
        self._is_due = is_due
        self._happened = threading.Event()
        self.set()

    def something_happened(self) -> None:
        self._happened.set()

    def set(self) -> None:
        """Let it go on: it was paused, or is told to end."""
        super().set()
        self._happened.set()

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_due():
            self._happened.wait(_LOOK_SECONDS)
        self._happened.clear()
        return super().wait(timeout)
