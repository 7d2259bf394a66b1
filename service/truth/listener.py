"""Listens for results of pathology by MLLP, and answers each when it is on disk."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address, ip_network

from hl7.mllp import HL7StreamReader, HL7StreamWriter, InvalidBlockError, start_hl7_server

from service.journal.journal import Journal, JournalError
from service.journal.truth_records import Taken
from service.log import fault
from service.truth.message import Code, NotTaken, answer, decoded, head_of, read_result
from service.truth.settings import TruthSettings

log = logging.getLogger(__name__)

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_LONGEST_MESSAGE = 1 << 20
_MOST_CONNECTIONS = 32
_STOP_SECONDS = 5.0


class Listener:
    """Serves in a thread of its own from ``start`` to ``stop``. Logs name no patient and no UID."""

    def __init__(self, settings: TruthSettings, journal: Journal) -> None:
        self._settings = settings
        self._journal = journal
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="truth")
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def start(self) -> None:
        """Raises OSError if the address cannot be used."""
        self._server = self._loop.run_until_complete(
            start_hl7_server(
                self._connected,
                self._settings.host,
                self._settings.port,
                limit=_LONGEST_MESSAGE,
            )
        )
        self._thread.start()

    def stop(self) -> None:
        """A message that is being kept is kept; its sender sends it again if no answer came."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_STOP_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_STOP_SECONDS)
        self._loop.close()

    @property
    def is_listening(self) -> bool:
        return self._thread.is_alive()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    def _connected(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        address = str(writer.get_extra_info("peername")[0])
        if not self._may_connect(address) or len(self._connections) >= _MOST_CONNECTIONS:
            log.warning("a connection from %s was refused", address)
            writer.transport.abort()
            return
        task = self._loop.create_task(self._serve(reader, writer, address))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

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
            taken = self._journal.record_truth(truth)
        except NotTaken as error:
            return error.code, error.text
        except JournalError:
            return Code.ERROR, "the journal does not answer: send it again"
        except Exception as error:  # noqa: BLE001 the sender must hear of it, and nobody a value
            log.error("a message could not be read: %s", fault(error))
            return Code.ERROR, "our fault: see the log"
        if taken is Taken.UNKNOWN:
            return Code.ERROR, "no such study was received"
        return Code.ACCEPT, taken.value


def _rejected(why: str) -> bytes:
    return answer(head_of(""), Code.REJECT, why, datetime.now(UTC)).encode()
