"""What every association of ours shares, and the listening end of one."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from socketserver import BaseServer
from typing import Any, Protocol, cast

from pynetdicom import AE, _config, evt, register_uid
from pynetdicom.association import Association
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.transport import ThreadedAssociationServer

from dicom_sr.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.reactor import wait_instead_of_looking

# pynetdicom keeps these switches as module globals, so they are set once, where it is imported.
# Its default log handlers take one lock of the whole AE for each PDU.
_config.LOG_HANDLER_LEVEL = "none"
# A file is sent with the bytes that it has; without this it is decoded and encoded anew.
_config.STORE_SEND_CHUNKED_DATASET = True
# It knows no retired SOP class, and would abort the association of an old scanner.
register_uid("1.2.840.10008.5.1.4.1.1.6", "RetiredUltrasoundImageStorage", StorageServiceClass)
register_uid("1.2.840.10008.5.1.4.1.1.3", "RetiredUltrasoundMultiframeStorage", StorageServiceClass)

log = logging.getLogger(__name__)

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


class Guard(Protocol):
    """Who looks at connections and associations before anything else does."""

    @property
    def handshake_seconds(self) -> float:
        """In which TLS must be established."""

    def admits(self, address: str, open_from_there: int) -> bool:
        """Whether a connection is kept; it is closed otherwise."""

    def tls_context(self) -> ssl.SSLContext | None:
        """Of the next connection; None for one without TLS."""

    def watch(self, association: Association) -> None:
        """Called before it reads its first byte."""

    def requested(self, event: evt.Event, open_from_there: int) -> None:
        """Called with its request; may reject it."""

    def handshake_failed(self, address: str) -> None:
        """Called for a connection from there on which TLS was not established."""


class Acceptor:
    """Listens for associations, and ends them in good order.

    ae: the application entity with its supported presentation contexts, limits and timeouts.
    host, port: where to listen; port 0 picks a free one.
    handlers: pairs of a pynetdicom event and its handler.
    guard: None lets everybody in.
    """

    def __init__(
        self,
        ae: AE,
        host: str,
        port: int,
        handlers: Sequence[Handler],
        guard: Guard | None = None,
    ) -> None:
        self._ae = ae
        self._guard = guard
        self._address = (host, port)
        waits = float(ae.network_timeout or 60)
        self._handlers = [
            *handlers,
            (evt.EVT_CONN_OPEN, bound_socket_waits, [waits]),
            (evt.EVT_CONN_OPEN, lambda event: wait_instead_of_looking(event.assoc)),
            (evt.EVT_CONN_CLOSE, _end_without_request),
        ]
        if guard is not None:
            self._handlers.append((evt.EVT_CONN_OPEN, lambda event: guard.watch(event.assoc)))
            self._handlers.append((evt.EVT_REQUESTED, self._requested))
        self._server: _Server | None = None

    def start(self) -> None:
        """Listen. Raises OSError if the address is taken or not ours."""
        server = cast(
            _Server,
            self._ae.make_server(
                self._address,
                evt_handlers=self._handlers,
                server_class=_Server,
            ),
        )
        server.guard = self._guard
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

    def _requested(self, event: evt.Event) -> None:
        if self._guard is not None and self._server is not None:
            address = str(event.assoc.requestor.address)
            self._guard.requested(event, self._server.open_from(address))

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
    guard: Guard | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._handshakes: list[str] = []
        super().__init__(*arguments, **options)

    def open_from(self, address: str) -> int:
        """Connections of one address."""
        associations = sum(each.requestor.address == address for each in self.active_associations)
        return associations + self._handshakes.count(address)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """In the thread that accepts; what it refuses is closed."""
        address = str(client_address[0])
        return self.guard is None or self.guard.admits(address, self.open_from(address))

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, so that a slow handshake keeps nobody else waiting."""
        context = self.guard.tls_context() if self.guard else None
        if context is not None and self.guard is not None:
            request = self._encrypted(request, str(client_address[0]), context, self.guard)
        if request is not None:
            super().finish_request(request, client_address)

    def _encrypted(
        self, connection: socket.socket, address: str, context: ssl.SSLContext, guard: Guard
    ) -> ssl.SSLSocket | None:
        """None if the handshake failed or took too long."""
        self._handshakes.append(address)
        deadline = threading.Timer(guard.handshake_seconds, _shut, [connection])
        deadline.daemon = True
        deadline.start()
        try:
            connection.settimeout(guard.handshake_seconds)
            encrypted = context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            deadline.args = [encrypted]
            encrypted.do_handshake()
            return encrypted
        except OSError:
            guard.handshake_failed(address)
            self.shutdown_request(connection)
            return None
        finally:
            deadline.cancel()
            self._handshakes.remove(address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.warning("a connection broke off before it was an association")

    def shutdown(self) -> None:
        BaseServer.shutdown(self)
        self.server_close()


def _end_without_request(event: evt.Event) -> None:
    """Let go of a peer that connected and left, as a port probe does.

    pynetdicom would wait for its request until the ACSE timeout, and count it as an association.
    """
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)


def _connection(association: Association) -> socket.socket | None:
    return association.dul.socket.socket if association.dul.socket else None


def _hang_up(association: Association) -> None:
    """Close the connection under a thread that waits for a peer in the middle of a PDU."""
    connection = _connection(association)
    if connection is not None:
        _shut(connection)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
