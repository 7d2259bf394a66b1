"""DICOMweb servers of the tests: a TLS front before Orthanc, a token endpoint, a moody server."""

from __future__ import annotations

import base64
import email
import email.policy
import http.client
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote_plus, urlsplit


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def parts(self) -> list[bytes]:
        """The parts of a multipart message."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + self.body, policy=email.policy.HTTP)
        return [part.get_payload(decode=True) for part in message.iter_parts()]


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str | None = None
    location: str | None = None


class WebServer:
    """Gives each POST to ``answer``; ``requests`` holds what came.

    tls: the server's side of TLS; plain HTTP without it.
    """

    def __init__(
        self, answer: Callable[[Request], Response], tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[Request] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers["content-length"]))
                request = Request(self.path, headers, body)
                outer.requests.append(request)
                response = answer(request)
                self.send_response(response.status)
                self.send_header("Content-Length", str(len(response.body)))
                if response.content_type:
                    self.send_header("Content-Type", response.content_type)
                if response.location:
                    self.send_header("Location", response.location)
                self.end_headers()
                self.wfile.write(response.body)

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *arguments: object) -> None:
                """A client that breaks off, as one does that mistrusts us, is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def forward(root: str, path: str | None = None) -> Callable[[Request], Response]:
    """An answer that the server at ``root`` gives, to the request's own path or to ``path``."""

    def answer(request: Request) -> Response:
        connection = http.client.HTTPConnection(urlsplit(root).netloc, timeout=20)
        names = ("content-type", "accept")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        connection.request("POST", path or request.path, request.body, headers)
        response = connection.getresponse()
        return Response(response.status, response.read(), response.getheader("Content-Type"))

    return answer


def guarded(
    admits: Callable[[str], bool], answer: Callable[[Request], Response]
) -> Callable[[Request], Response]:
    """``answer`` for a request whose Authorization header is admitted, else 401."""

    def guard(request: Request) -> Response:
        if not admits(request.headers.get("authorization", "")):
            return Response(401)
        return answer(request)

    return guard


def basic(user: str, password: str) -> str:
    """An Authorization header as RFC 7617 has it, in UTF-8."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


class TokenIssuer:
    """A token endpoint for one client (RFC 6749 section 4.4); its tokens expire.

    lifetime: seconds. granted_scope: what a token is good for, where that is not what was asked.
    """

    def __init__(
        self, client_id: str, secret: str, lifetime: float, granted_scope: str | None = None
    ) -> None:
        self.lifetime = lifetime
        self.issued: list[str] = []
        self.scopes: list[str] = []
        self._client = (client_id, secret)
        self._granted_scope = granted_scope
        self._valid: dict[str, float] = {}

    def answer(self, request: Request) -> Response:
        form = parse_qs(request.body.decode())
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        pair = base64.b64decode(encoded).decode().partition(":") if scheme == "Basic" else ("",) * 3
        if (unquote_plus(pair[0]), unquote_plus(pair[2])) != self._client:
            return _json(401, error="invalid_client", error_description=f"not {encoded}")
        if form["grant_type"] != ["client_credentials"]:
            return _json(400, error="unsupported_grant_type")
        token = secrets.token_urlsafe()
        self.issued.append(token)
        self.scopes += form.get("scope", [])
        self._valid[token] = time.monotonic() + self.lifetime
        told = {"scope": self._granted_scope} if self._granted_scope else {}
        return _json(
            200, access_token=token, token_type="Bearer", expires_in=int(self.lifetime), **told
        )

    def admits(self, authorization: str) -> bool:
        return self._valid.get(authorization.removeprefix("Bearer "), 0) > time.monotonic()

    def revoke_all(self) -> None:
        self._valid.clear()


def _json(status: int, **members: object) -> Response:
    return Response(status, json.dumps(members).encode(), "application/json")


def store_response(
    stored: dict[str, int | None] | None = None, failed: dict[str, int | None] | None = None
) -> bytes:
    """A Store Instances Response (PS3.18 Annex I): SOP Instance UIDs with their reasons."""
    return json.dumps(
        {
            "00081198": _sequence(failed or {}, "00081197"),
            "00081199": _sequence(stored or {}, "00081196"),
        }
    ).encode()


def _sequence(reasons: dict[str, int | None], tag: str) -> dict[str, object]:
    items = []
    for uid, reason in reasons.items():
        item: dict[str, object] = {"00081155": {"vr": "UI", "Value": [uid]}}
        if reason is not None:
            item[tag] = {"vr": "US", "Value": [reason]}
        items.append(item)
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
