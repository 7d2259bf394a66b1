"""What every answer and every request goes through, whatever page it is."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

LARGEST_BODY = 1 << 16
"""Bytes; the largest form is a reason in words."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_SAFE = ("GET", "HEAD")


class _TooLarge(Exception):
    pass


class Wall:
    """The outermost middleware: headers, the size of bodies, foreign forms, faults of ours.

    encrypted: whether browsers come by HTTPS, and should never again come otherwise.
    """

    def __init__(self, app: ASGIApp, encrypted: bool) -> None:
        self._app = app
        self._headers = dict(_HEADERS)
        if encrypted:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False
        read = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                if read > LARGEST_BODY:  # whatever has become of the exception on its way up
                    message["status"] = 413
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        async def receive_little() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > LARGEST_BODY:
                raise _TooLarge
            return message

        answer = None
        if is_foreign(scope):
            answer = PlainTextResponse("the request comes from another site\n", 403)
        elif _announced(scope) > LARGEST_BODY:
            answer = PlainTextResponse("the request is too large\n", 413)
        else:
            try:
                await self._app(scope, receive_little, send_with_headers)
            except _TooLarge:
                answer = PlainTextResponse("the request is too large\n", 413)
            except Exception:
                log.exception("a request of the web page failed")
                answer = PlainTextResponse("something went wrong here; see the log\n", 500)
        if answer is not None and not begun:
            await answer(scope, receive, send_with_headers)


def _announced(scope: Scope) -> int:
    """Bytes of the body, 0 where none are announced."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def is_foreign(scope: Scope) -> bool:
    """Whether a browser sends it at the will of another site's page."""
    if scope["method"] in _SAFE:
        return False
    headers = Headers(scope=scope)
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")
