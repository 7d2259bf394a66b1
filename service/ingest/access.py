"""Who may connect: by address when the connection comes, by AE title and address thereafter."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from service.ingest.settings import IngestSettings, PeerRule

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_BURST_SECONDS = 4.0
_KNOWN_ADDRESSES = 10_000


class Access:
    """The rules of ``ingest.peers``; without any, this machine alone."""

    def __init__(self, settings: IngestSettings) -> None:
        self._rules = settings.peers or tuple(PeerRule(address=network) for network in _LOOPBACK)

    def knows(self, address: str) -> bool:
        return any(_lies_in(address, rule) for rule in self._rules)

    def rule_for(self, ae_title: str, address: str) -> PeerRule | None:
        """The first that fits."""
        for rule in self._rules:
            if rule.ae_title in ("*", ae_title) and _lies_in(address, rule):
                return rule
        return None


def _lies_in(address: str, rule: PeerRule) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:  # a host's name
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return found in rule.address


class Rate:
    """A bucket of tokens for each address: one an association, filled at ``per_second``.

    Thread-safe as long as one thread asks for one address, and harmless otherwise.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._full = max(1.0, per_second * _BURST_SECONDS)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, address: str) -> bool:
        now = self._clock()
        tokens, then = self._buckets.get(address, (self._full, now))
        tokens = min(self._full, tokens + (now - then) * self._per_second)
        allowed = tokens >= 1
        if len(self._buckets) > _KNOWN_ADDRESSES:
            self._buckets.clear()
        self._buckets[address] = (tokens - allowed, now)
        return allowed
