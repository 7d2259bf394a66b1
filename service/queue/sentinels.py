"""The address of a broker that Redis Sentinel watches."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_SCHEME = "sentinel"
_PORT = 26379


@dataclass(frozen=True)
class Sentinels:
    """hosts: with their ports. name: of the master that they watch.

    password: of that master, None if it has none.
    """

    hosts: tuple[tuple[str, int], ...]
    name: str
    database: int
    password: str | None

    def celery_url(self) -> str:
        """As kombu's sentinel transport takes it; the master's name goes beside it."""
        login = f":{self.password}@" if self.password else ""
        return ";".join(
            f"{_SCHEME}://{login}{host}:{port}/{self.database}" for host, port in self.hosts
        )


def sentinels(url: str) -> Sentinels | None:
    """``sentinel://[:PASSWORD@]HOST[:PORT],HOST…/NAME[/DATABASE]``; None for a plain Redis URL.

    Raises ValueError for one of that scheme that cannot be read; its text holds no password.
    """
    if not url.startswith(f"{_SCHEME}://"):
        return None
    parts = urlsplit(url)
    login, _, places = parts.netloc.rpartition("@")
    name, _, database = parts.path.strip("/").partition("/")
    hosts = []
    for place in places.split(","):
        host, _, port = place.rpartition(":") if ":" in place else (place, "", "")
        if not host or not (port.isdigit() or not port):
            raise ValueError("a sentinel URL is sentinel://HOST:PORT,HOST:PORT/NAME")
        hosts.append((host, int(port or _PORT)))
    if not name or not (database.isdigit() or not database):
        raise ValueError("a sentinel URL ends with the master's name: sentinel://HOST:PORT/NAME")
    password = unquote(login.partition(":")[2]) or None
    return Sentinels(tuple(hosts), name, int(database or 0), password)
