"""Listens for results of pathology by MLLP, and answers each when it is on disk."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import time
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address, ip_network

from hl7.mllp import HL7StreamReader, HL7StreamWriter, InvalidBlockError, start_hl7_server

from service.audit.messages import Node, security_alert
from service.audit.trail import AuditTrail
from service.journal.journal import Journal, JournalError
from service.journal.truth_records import Taken
from service.log import fault
from service.monitoring.metrics import Metrics
from service.tls import ServerTls
from service.truth.message import Code, NotTaken, answer, decoded, head_of, read_result
from service.truth.settings import TruthSettings
from service.truth.taking import take

log = logging.getLogger(__name__)

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_LONGEST_MESSAGE = 1 << 20
_MOST_CONNECTIONS = 32
_STOP_SECONDS = 5.0
_HANDSHAKE_SECONDS = 10.0
_RENEW_SECONDS = 1.0
_ALERT_SECONDS = 60.0
"""Of one reason for which connections are refused, the trail and the log are told once in that."""


class Listener:
    """Serves in a thread of its own from ``start`` to ``stop``. Logs name no patient and no UID.

    Raises ConfigurationError for TLS files that cannot be used.
    """

    def __init__(
        self, settings: TruthSettings, journal: Journal, trail: AuditTrail, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._trail = trail
        self._metrics = metrics
        self._tls: ServerTls | None = None
        if settings.tls is not None:
            self._tls = ServerTls(settings.tls, metrics.tls_reload_failures.inc)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="truth")
        self._connections: set[asyncio.Task[None]] = set()
        self._renewal: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._alerted_at: dict[str, float] = {}

    def start(self) -> None:
        """Raises OSError if the address cannot be used."""
        address = (self._settings.host, self._settings.port)
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        self._socket = socket.create_server(address, family=family)
        context = self._tls.context() if self._tls is not None else None
        self._server = self._loop.run_until_complete(self._serve_by(self._socket, context))
        if self._tls is not None and context is not None:
            self._renewal = self._loop.create_task(self._renew(self._tls, self._socket, context))
        self._thread.start()

    def stop(self) -> None:
        """A message that is being kept is kept; its sender sends it again if no answer came."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_STOP_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_STOP_SECONDS)
        self._loop.close()
        if self._socket is not None:
            self._socket.close()

    @property
    def is_listening(self) -> bool:
        return self._thread.is_alive()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = [*self._connections, *([self._renewal] if self._renewal else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    async def _serve_by(
        self, listening: socket.socket, context: ssl.SSLContext | None
    ) -> asyncio.Server:
        """Several servers may share the socket: what waits for one is taken by another."""
        return await start_hl7_server(  # type: ignore[no-any-return]
            self._connected,
            sock=listening.dup(),
            limit=_LONGEST_MESSAGE,
            ssl=context,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS if context is not None else None,
        )

    async def _renew(
        self, tls: ServerTls, listening: socket.socket, context: ssl.SSLContext
    ) -> None:
        """A server keeps the context that it began with, so changed files need another server."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            found = tls.context()
            if found is not context and self._server is not None:
                old, self._server = self._server, await self._serve_by(listening, found)
                old.close()
                context = found

    def _connected(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        address = str(writer.get_extra_info("peername")[0])
        if not self._may_connect(address):
            self._refuse(writer, address, "address")
            return
        if len(self._connections) >= _MOST_CONNECTIONS:
            self._refuse(writer, address, "connections")
            return
        task = self._loop.create_task(self._serve(reader, writer, address))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    def _refuse(self, writer: HL7StreamWriter, address: str, reason: str) -> None:
        writer.transport.abort()
        self._metrics.refused_associations.labels(reason).inc()
        now = time.monotonic()
        if now - self._alerted_at.get(reason, float("-inf")) >= _ALERT_SECONDS:
            self._alerted_at[reason] = now
            log.warning("a connection from %s was refused: %s", address, reason)
            self._trail.write(security_alert("truth", f"refused: {reason}", Node("", address)))

    def _may_connect(self, address: str) -> bool:
        found = ip_address(address.partition("%")[0])
        if isinstance(found, IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return any(found in network for network in self._settings.addresses or _LOOPBACK)

    async def _serve(self, reader: HL7StreamReader, writer: HL7StreamWriter, address: str) -> None:
        try:
            while True:
                try:
                    block = await reader.readblock()
                except (InvalidBlockError, ValueError):
                    # Where the next message begins is not known any more.
                    writer.writeblock(_rejected("this is no MLLP block, or it is too long"))
                    log.warning("a message from %s: AR: no MLLP block, or too long", address)
                    self._count("bad")
                    await writer.drain()
                    return
                writer.writeblock(await asyncio.to_thread(self._answer, block, address))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _answer(self, block: bytes, address: str) -> bytes:
        text = decoded(block)
        code, why = self._take(text, address)
        log.info("a message from %s: %s: %s", address, code.value, why)
        now = datetime.now(UTC)
        reason = "" if code is Code.ACCEPT else why
        return answer(head_of(text), code, reason, now).encode("utf-8", "replace")

    def _take(self, text: str, address: str) -> tuple[Code, str]:
        try:
            today = datetime.now(UTC).date()
            truth = read_result(text, self._settings, f"hl7 {address}", today)
            taken = take(self._journal, self._trail, truth)
        except NotTaken as error:
            self._count("bad")
            return error.code, error.text
        except JournalError:
            self._count("fault")
            return Code.ERROR, "the journal does not answer: send it again"
        except Exception as error:  # noqa: BLE001 the sender must hear of it, and nobody a value
            log.error("a message could not be read: %s", fault(error))
            self._count("fault")
            return Code.ERROR, "our fault: see the log"
        self._count(taken.value)
        if taken is Taken.UNKNOWN:
            return Code.ERROR, "no such study was received"
        return Code.ACCEPT, taken.value

    def _count(self, outcome: str) -> None:
        self._metrics.truth_messages.labels(outcome).inc()
        self._metrics.truth_last_message.labels(outcome).set_to_current_time()


def _rejected(why: str) -> bytes:
    return answer(head_of(""), Code.REJECT, why, datetime.now(UTC)).encode()
