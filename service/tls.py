"""TLS as DICOM wants it: the BCP 195 profile (PS3.15 section B.12, RFC 9325), mutual by default."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.config import ConfigurationError
from service.destination import ClientTls
from service.ingest.settings import IngestTls

log = logging.getLogger(__name__)

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!eNULL:!MD5:!SHA1:!DSS"
"""Of TLS 1.2; those of TLS 1.3 are all good. Forward secrecy and authenticated encryption."""

_NO_PASSWORD = ""
"""Without one OpenSSL would ask the terminal for the password of a locked key, and wait."""


def client_context(settings: ClientTls) -> ssl.SSLContext:
    """Of a new connection, so that changed files hold at once. Raises ConfigurationError."""
    context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = settings.check_host_name
    with _told(settings.files()):
        context.load_verify_locations(settings.ca_file)
        if settings.certificate is not None and settings.key is not None:
            context.load_cert_chain(settings.certificate, settings.key, _NO_PASSWORD)
    return context


class ServerTls:
    """The context of each new connection; the files are read again when they have changed.

    A changed file that cannot be used is logged, and the last good ones stay in force.
    on_broken: called then.
    Raises ConfigurationError if the first ones cannot be used. Thread-safe.
    """

    def __init__(self, settings: IngestTls, on_broken: Callable[[], object] = lambda: None) -> None:
        self._settings = settings
        self._on_broken = on_broken
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        with self._lock:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                try:
                    self._context = self._load()
                except ConfigurationError as error:
                    log.error("the changed TLS files are not used: %s", error)
                    self._on_broken()
                else:
                    log.info("the changed TLS files are in force")
            return self._context

    def _load(self) -> ssl.SSLContext:
        settings = self._settings
        context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        with _told(settings.files()):
            context.load_cert_chain(settings.certificate, settings.key, _NO_PASSWORD)
            if settings.ca_file is not None:
                context.load_verify_locations(settings.ca_file)
                context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._settings.files())


def _hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


@contextmanager
def _told(files: Iterable[Path]) -> Iterator[None]:
    """Whatever is wrong with the files becomes a ConfigurationError that names them."""
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        names = ", ".join(map(str, files))
        raise ConfigurationError(f"TLS cannot use {names}: {reason}") from None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
