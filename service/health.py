"""Whether a process works, asked from outside: without anything of what it works with."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request


def is_healthy(url: str) -> bool:
    """Whether a process says at its ``/healthz`` that it works."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 http, on our own host
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return False
