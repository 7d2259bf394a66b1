"""The web process: pages and REST API until SIGTERM."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import ExitStack

import uvicorn

from service.audit.messages import application_activity
from service.audit.trail import AuditTrail
from service.config import ConfigurationError, Settings
from service.ending import Ending
from service.ingest.settings import IngestTls
from service.journal.journal import Journal, JournalError
from service.journal.opening import open_journal
from service.monitoring.metrics import Metrics
from service.monitoring.server import serve
from service.spool_opening import open_spool
from service.tls import ServerTls
from service.web.accounts import Accounts
from service.web.app import build
from service.web.gate import Gate
from service.web.oidc import OidcLogin
from service.web.pictures import Pictures
from service.web.site import Site

log = logging.getLogger(__name__)

_CONNECTIONS = 200
_STOP_SECONDS = 5


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; call it in the main thread. Returns the exit code.

    Raises ConfigurationError if an address or a file cannot be used, JournalError.
    """
    ending = Ending()
    with ExitStack() as stack:
        journal = open_journal(settings)
        stack.callback(journal.close)
        journal.migrate()
        metrics = Metrics()
        trail = AuditTrail(settings.audit_dir, metrics)
        pictures = Pictures(settings.analysis, open_spool(settings, metrics))
        stack.callback(pictures.close)
        gate = Gate(settings.web, Accounts(settings.accounts_file), trail, metrics)
        site = Site(settings, journal, pictures, trail, gate, _oidc(settings))
        server, listener = _server(settings, site)
        stack.callback(listener.close)
        thread = threading.Thread(target=server.run, args=([listener],), name="web")
        try:
            monitor = serve(
                metrics,
                settings.monitoring.host,
                settings.monitoring.web_port,
                lambda: _what_is_wrong(journal, thread),
            )
        except OSError as error:
            raise ConfigurationError(
                f"monitoring.web_port cannot be used: {error.strerror}"
            ) from error
        stack.callback(monitor.close)
        trail.write(application_activity("web", started=True))
        stack.callback(lambda: trail.write(application_activity("web", started=False)))
        thread.start()
        log.info("the page is served on port %d", settings.web.port)
        while thread.is_alive() and not ending.wait(1.0):
            pass
        server.should_exit = True
        thread.join(_STOP_SECONDS)
    return 0


def _oidc(settings: Settings) -> OidcLogin | None:
    if settings.web.oidc is None:
        return None
    return OidcLogin(settings.web.oidc, str(settings.web.url).rstrip("/"))


def _server(settings: Settings, site: Site) -> tuple[uvicorn.Server, socket.socket]:
    web = settings.web
    config = uvicorn.Config(
        build(site),
        host=web.host,
        port=web.port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        proxy_headers=web.proxy is not None,
        forwarded_allow_ips=str(web.proxy) if web.proxy else None,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_STOP_SECONDS - 1,
    )
    config.load()
    if web.tls is not None:
        files = IngestTls(
            certificate=web.tls.certificate, key=web.tls.key, require_client_certificate=False
        )
        config.ssl = ServerTls(files).context()
    family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((web.host, web.port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"web.host or web.port cannot be used: {error.strerror}"
        ) from error
    return uvicorn.Server(config), listener


def _what_is_wrong(journal: Journal, thread: threading.Thread) -> str | None:
    if not thread.is_alive():
        return "the page is not served"
    try:
        journal.check()
    except JournalError:
        return "the journal does not answer"
    return None
