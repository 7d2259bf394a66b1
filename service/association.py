"""What every association of ours shares, and the listening end of one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from socketserver import BaseServer
from typing import Any

from pynetdicom import AE, _config, evt, register_uid
from pynetdicom.association import Association
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.transport import ThreadedAssociationServer

from dicom_sr.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

# pynetdicom keeps these switches as module globals, so they are set once, where it is imported.
# Its default log handlers take one lock of the whole AE for each PDU.
_config.LOG_HANDLER_LEVEL = "none"
# A file is sent with the bytes that it has; without this it is decoded and encoded anew.
_config.STORE_SEND_CHUNKED_DATASET = True
# It knows no retired SOP class, and would abort the association of an old scanner.
register_uid("1.2.840.10008.5.1.4.1.1.6", "RetiredUltrasoundImageStorage", StorageServiceClass)
register_uid("1.2.840.10008.5.1.4.1.1.3", "RetiredUltrasoundMultiframeStorage", StorageServiceClass)

Handler = tuple[Any, Callable[..., Any]] | tuple[Any, Callable[..., Any], list[Any]]

_CLOSING_SECONDS = 2.0


def application_entity(ae_title: str) -> AE:
    """An AE that names our software in each association, as our files do (PS3.7 D.3.3.2)."""
    ae = AE(ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return ae


def bound_socket_waits(event: evt.Event, seconds: float) -> None:
    """Handler of EVT_CONN_OPEN: no read or write of this connection blocks for longer.

    Without it a peer that stops in the middle of a PDU, or no longer reads, holds its thread for
    good. Small PDUs go out at once (no Nagle), which saves 40 ms an object.
    """
    connection = _connection(event.assoc)
    if connection is not None:
        connection.settimeout(seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Acceptor:
    """Listens for associations, and ends them in good order.

    ae: the application entity with its supported presentation contexts, limits and timeouts.
    host, port: where to listen; port 0 picks a free one.
    handlers: pairs of a pynetdicom event and its handler.
    """

    def __init__(self, ae: AE, host: str, port: int, handlers: Sequence[Handler]) -> None:
        self._ae = ae
        self._address = (host, port)
        waits = float(ae.network_timeout or 60)
        self._handlers = [
            *handlers,
            (evt.EVT_CONN_OPEN, bound_socket_waits, [waits]),
            (evt.EVT_CONN_CLOSE, _end_without_request),
        ]
        self._server: ThreadedAssociationServer | None = None

    def start(self) -> None:
        """Listen. Raises OSError if the address is taken or not ours."""
        server = self._ae.make_server(
            self._address,
            evt_handlers=self._handlers,
            server_class=_Server,
        )
        threading.Thread(target=server.serve_forever, name="acceptor", daemon=True).start()
        self._server = server

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1]) if self._server else self._address[1]

    def open_associations(self) -> int:
        """How many associations are open now."""
        return sum(assoc.is_established for assoc in self._associations())

    def stop(self, drain: float = 0.0) -> None:
        """Accept no more; let what is open finish for ``drain`` seconds; abort the rest.

        Doing it again does no harm.
        """
        if self._server is None:
            return
        self._server.shutdown()
        if not self._wait_for_end(drain):
            for association in self._associations():
                association.abort(block=False)
        if not self._wait_for_end(_CLOSING_SECONDS):
            for association in self._associations():
                _hang_up(association)
            self._wait_for_end(_CLOSING_SECONDS)

    def _associations(self) -> list[Association]:
        return self._server.active_associations if self._server else []

    def _wait_for_end(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._associations() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self._associations()


class _Server(ThreadedAssociationServer):
    # Of sixteen scanners that connect at once the default of 5 turns some away.
    request_queue_size = 128

    def shutdown(self) -> None:
        BaseServer.shutdown(self)
        self.server_close()


def _end_without_request(event: evt.Event) -> None:
    """Let go of a peer that connected and left, as a port probe does.

    pynetdicom would wait for its request until the ACSE timeout, and count it as an association.
    """
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)  # type: ignore[arg-type]


def _connection(association: Association) -> socket.socket | None:
    return association.dul.socket.socket if association.dul.socket else None


def _hang_up(association: Association) -> None:
    """Close the connection under a thread that waits for a peer in the middle of a PDU."""
    connection = _connection(association)
    if connection is not None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
