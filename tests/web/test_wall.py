"""What every request goes through before the application, and every answer after it."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from service.web.wall import Wall


async def broken(_scope: Any, _receive: Any, _send: Any) -> None:
    raise ValueError("Doe^Jane")


async def fine(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


def ask(app: Any, method: str = "POST", encrypted: bool = False, **headers: str) -> httpx2.Response:
    async def once() -> httpx2.Response:
        transport = httpx2.ASGITransport(Wall(app, encrypted))
        async with httpx2.AsyncClient(transport=transport, base_url="http://page:80") as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, "/", headers=named)

    # In a thread of its own: the browser of other tests has an event loop in this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, once()).result()


def test_a_fault_of_ours_is_one_line_without_what_it_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = ask(broken)
    assert answer.status_code == 500
    assert answer.text == "something went wrong here; see the log\n"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert [record.getMessage() for record in caplog.records] == [
        "a request of the web page failed"
    ]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"origin": "http://page"}, 200),
        ({"origin": "http://other"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_other_sites_cannot_post(headers: dict[str, str], code: int) -> None:
    assert ask(fine, **headers).status_code == code
    assert ask(fine, "GET", **headers).status_code == 200, "they may lead here"


def test_browsers_are_told_to_stay_with_https() -> None:
    assert "Strict-Transport-Security" not in ask(fine).headers
    assert ask(fine, encrypted=True).headers["Strict-Transport-Security"] == "max-age=31536000"
