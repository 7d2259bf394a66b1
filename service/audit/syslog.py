"""The audit trail to a syslog collector over TLS (RFC 5424, RFC 5425; PS3.15 section A.6).

It reads the trail's own files, from where it got to in each: nothing is lost while the collector is
down, or we are; what was sent just before a crash may be sent again.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path

from service.audit.messages import Message, to_xml
from service.config import ConfigurationError
from service.monitoring.metrics import Metrics
from service.sections import SyslogSettings
from service.spool import write_durably
from service.tls import client_context

log = logging.getLogger(__name__)

_PRIORITY = 10 * 8 + 5
"""Facility authpriv, severity notice."""
_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 1.0
_LONGEST_WAIT = 60.0
_LINES_AT_ONCE = 200


class SyslogForwarder:
    """A thread that sends what the trail's files hold."""

    def __init__(self, settings: SyslogSettings, folder: Path, metrics: Metrics) -> None:
        self._settings = settings
        self._folder = folder
        self._place = folder / "forwarded.json"
        self._metrics = metrics
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-syslog", daemon=True)
        self._connection: ssl.SSLSocket | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(_TIMEOUT_SECONDS)

    def _run(self) -> None:
        wait = _POLL_SECONDS
        while not self._ended.wait(wait):
            try:
                while self._forward_some() and not self._ended.is_set():
                    pass
                wait = _POLL_SECONDS
            except (OSError, ConfigurationError) as error:
                self._hang_up()
                if wait == _POLL_SECONDS:
                    log.warning("the audit collector takes nothing: %s", type(error).__name__)
                self._metrics.audit_messages.labels("waiting").inc()
                wait = min(_LONGEST_WAIT, wait * 2)
        self._hang_up()

    def _forward_some(self) -> bool:
        """Send the next lines; False if there are none. Raises OSError, ConfigurationError."""
        known = self._places()
        for path in sorted(self._folder.glob("*.jsonl")):
            # Of a day that is over too: the clock may have been set back.
            lines = _lines(path, known.get(path.name, 0))
            if lines:
                self._forward(path.name, lines, known)
                return True
        return False

    def _forward(self, name: str, lines: list[bytes], known: dict[str, int]) -> None:
        """Send lines of one file, and remember how far that went."""
        offset = known.get(name, 0)
        try:
            for line in lines:
                if line.strip():
                    self._forward_one(line)
                offset += len(line)
        finally:
            write_durably(self._place, json.dumps({**known, name: offset}).encode())

    def _forward_one(self, line: bytes) -> None:
        message = _message(line)
        if message is not None:
            self._send(message)
        self._metrics.audit_messages.labels("forwarded" if message else "unreadable").inc()

    def _send(self, message: Message) -> None:
        if self._connection is not None and _has_ended(self._connection):
            self._hang_up()
        if self._connection is None:
            self._connection = self._connect()
        text = syslog_message(message).encode()
        self._connection.sendall(b"%d %s" % (len(text), text))

    def _connect(self) -> ssl.SSLSocket:
        settings = self._settings
        plain = socket.create_connection((settings.host, settings.port), _TIMEOUT_SECONDS)
        try:
            return client_context(settings.tls).wrap_socket(plain, server_hostname=settings.host)
        except BaseException:
            plain.close()
            raise

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _places(self) -> dict[str, int]:
        """How far each file was forwarded, in bytes."""
        try:
            known = json.loads(self._place.read_text())
            return {str(name): int(offset) for name, offset in known.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}


def _has_ended(connection: ssl.SSLSocket) -> bool:
    """A collector says nothing but that it goes; what is written then would be lost unseen."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except ssl.SSLWantReadError:
        return False
    finally:
        connection.settimeout(_TIMEOUT_SECONDS)


def syslog_message(message: Message) -> str:
    """RFC 5424 section 6, with the message in XML."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    host = socket.gethostname() or "-"
    head = f"<{_PRIORITY}>1 {time}Z {host} secondread {os.getpid()} DICOM+RFC3881 -"
    return f"{head} \ufeff{to_xml(message)}"


def _message(line: bytes) -> Message | None:
    """None for what is none, such as half a line that a full disk has left."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _lines(path: Path, offset: int) -> list[bytes]:
    """Whole lines from there on, not too many at once."""
    with path.open("rb") as stream:
        stream.seek(offset)
        lines: list[bytes] = []
        for line in stream:
            if not line.endswith(b"\n") or len(lines) == _LINES_AT_ONCE:
                break
            lines.append(line)
        return lines
