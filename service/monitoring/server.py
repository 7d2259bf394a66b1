"""``/metrics`` and ``/healthz`` of a process, over HTTP."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from service.monitoring.metrics import Metrics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without the look-up of our own name, which can wait long for a DNS server."""
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 10
    """Seconds after which a client that says nothing is left."""

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes come every few seconds and are no news."""


class MonitoringServer:
    """Answers in daemon threads until ``close()``.

    port: the TCP port it listens on.
    """

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        self.port = server.server_port
        self._thread = Thread(target=server.serve_forever, name="monitoring", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(
    metrics: Metrics, host: str, port: int, healthy: Callable[[], str | None]
) -> MonitoringServer:
    """Serve ``/metrics``, and ``/healthz``: 200, or 503 with the reason that ``healthy`` returns.

    port: 0 picks a free one. healthy: None while all is well, else one plain line for an operator;
    it is called for each request, from several threads.
    Raises OSError if the address cannot be bound.
    """
    exposition = make_wsgi_app(metrics.registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            return exposition(environ, start_response)  # type: ignore[no-any-return]
        if environ["PATH_INFO"] == "/healthz":
            reason = healthy()
            status = "503 Service Unavailable" if reason else "200 OK"
            return _plain(start_response, status, reason or "ok")
        return _plain(start_response, "404 Not Found", "there is /metrics and /healthz")

    server = (_Server6 if ":" in host else _Server)((host, port), _Handler)
    server.set_app(answer)
    return MonitoringServer(server)


def _plain(start_response: StartResponse, status: str, line: str) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{line}\n".encode()]
