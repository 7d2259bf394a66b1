"""``python -m service.healthcheck``: does what runs in this container work?

Exit code 0 if at least one of our processes listens here, and each that listens says that it
works; else 1. A container has one of them, ``secondread up`` all.
"""

from __future__ import annotations

import socket
import sys
from urllib.parse import urlsplit

from service.config import load_settings
from service.health import is_healthy
from service.programs import health_urls

_SECONDS = 2.0


def what_is_wrong(urls: dict[str, str]) -> str | None:
    """urls: by process, where it says whether it works. None if all is well."""
    here = {process: url for process, url in urls.items() if _listens(url)}
    if not here:
        return "nothing listens"
    ill = [process for process, url in here.items() if not is_healthy(url)]
    return f"not healthy: {', '.join(ill)}" if ill else None


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket(socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET) as end:
        end.settimeout(_SECONDS)
        return end.connect_ex((parts.hostname or "", parts.port or 80)) == 0


def main() -> int:
    wrong = what_is_wrong(health_urls(load_settings()))
    sys.stdout.write(f"{wrong or 'healthy'}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
