"""The door of the Ingest AE: rules, limits and TLS, before and while an association is open."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections import Counter
from pathlib import Path
from weakref import WeakKeyDictionary, ref

from pynetdicom import evt
from pynetdicom.association import Association

from service.audit.messages import Node, security_alert
from service.audit.trail import AuditTrail
from service.ingest.access import Access, Rate
from service.ingest.arrival import Arrival
from service.ingest.inflow import Inflow
from service.ingest.settings import IngestSettings
from service.monitoring.metrics import Metrics
from service.tls import ServerTls

log = logging.getLogger(__name__)

_LOG_SECONDS = 10.0
_KNOWN_PEERS = 100
"""Reasons with addresses that are told apart at a time, so that a flood fills no disk."""
_SPARE_CONNECTIONS = 4
"""Of one address above its associations, so that one too many can be told so."""

# Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 section 9.3.4).
_CALLING_AE_TITLE = (1, 1, 3)
_CONGESTION = (2, 3, 1)
_LOCAL_LIMIT = (2, 3, 2)


class Guard:
    """incoming: where data sets go as they come.

    Thread-safe. Raises ConfigurationError if the TLS files cannot be used.
    """

    def __init__(
        self, settings: IngestSettings, incoming: Path, metrics: Metrics, trail: AuditTrail
    ) -> None:
        self._settings = settings
        self._incoming = incoming
        self._trail = trail
        self._metrics = metrics
        self._access = Access(settings)
        self._rate = Rate(settings.max_associations_per_second)
        broken = metrics.tls_reload_failures.inc
        self._tls = ServerTls(settings.tls, broken) if settings.tls else None
        self._inflows: WeakKeyDictionary[Association, Inflow] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._unsaid: Counter[tuple[str, str]] = Counter()
        self._said_at: dict[tuple[str, str], float] = {}

    def warn_if_nobody_else_is_let_in(self) -> None:
        """Without rules it is this machine alone, also where we listen to others."""
        host = self._settings.host
        if not self._settings.peers and not (host == "localhost" or self._access.knows(host)):
            log.warning("ingest.peers is empty: only this machine may connect to %s", host)

    @property
    def handshake_seconds(self) -> float:
        return self._settings.acse_timeout

    def admits(self, address: str, open_from_there: int) -> bool:
        """Whether a connection is looked at: a known address that has not far too many already."""
        if not self._access.knows(address):
            self.refused("address", Node("", address))
            return False
        if open_from_there >= self._settings.max_associations_per_address + _SPARE_CONNECTIONS:
            self.refused("connections", Node("", address))
            return False
        return True

    def tls_context(self) -> ssl.SSLContext | None:
        """None where TLS is not wanted."""
        return self._tls.context() if self._tls else None

    def handshake_failed(self, address: str) -> None:
        """TLS was wanted, and not established."""
        self.refused("tls", Node("", address))

    def watch(self, association: Association) -> None:
        """Before it reads its first byte."""
        address = str(association.requestor.address)
        # Weakly, as Inflow itself does: what this dictionary holds must not hold its key.
        known = ref(association)

        def cut(reason: str) -> None:
            found = known()
            self.refused(reason, _peer(found) if found else Node("", address))

        self._inflows[association] = Inflow(association, self._settings, self._incoming, cut)

    def requested(self, event: evt.Event, open_from_there: int) -> None:
        """Handler of EVT_REQUESTED: reject, or leave it to the negotiation."""
        peer = _peer(event.assoc)
        if self._access.rule_for(peer.name, peer.address) is None:
            self._reject(event.assoc, "ae-title", _CALLING_AE_TITLE)
        elif open_from_there > self._settings.max_associations_per_address:
            self._reject(event.assoc, "associations", _LOCAL_LIMIT)
        elif not self._rate.allows(peer.address):
            self._reject(event.assoc, "rate", _CONGESTION)

    def arrival(self, event: evt.Event) -> Arrival | None:
        """The data set of a request; None if it has none."""
        inflow = self._inflows.get(event.assoc)
        return inflow.arrival(event.request.MessageID) if inflow else None  # type: ignore[arg-type]

    def connected_at(self, event: evt.Event) -> float:
        """When the association's connection came, seconds since 1970."""
        inflow = self._inflows.get(event.assoc)
        return inflow.began if inflow else time.time()

    def answered(self, event: evt.Event) -> None:
        """Whatever is left of a request's data set in ``incoming/`` can go."""
        inflow = self._inflows.get(event.assoc)
        if inflow:
            inflow.answered(event.request.MessageID)  # type: ignore[arg-type]

    def refused(self, reason: str, peer: Node) -> None:
        """Count it, and say it, but of one address no more than once in a while."""
        self._metrics.refused_associations.labels(reason).inc()
        with self._lock:
            now = time.monotonic()
            who = self._place_for(reason, peer.address, now)
            self._unsaid[who] += 1
            if now - self._said_at.get(who, float("-inf")) < _LOG_SECONDS:
                return
            self._said_at[who] = now
            number = self._unsaid.pop(who)
        words = f"refused or cut: {reason} ({number} since it was last said)"
        log.warning("%s, from %s", words, peer.address)
        self._trail.write(security_alert("ingest", words, peer))

    def _place_for(self, reason: str, address: str, now: float) -> tuple[str, str]:
        """Where a refusal is counted: with its address, unless too many come from everywhere."""
        if len(self._said_at) >= _KNOWN_PEERS:
            old = [who for who, then in self._said_at.items() if now - then >= _LOG_SECONDS]
            for who in old:
                del self._said_at[who]
                self._unsaid.pop(who, None)
        known = (reason, address) in self._said_at or len(self._said_at) < _KNOWN_PEERS
        return (reason, address if known else "")

    def _reject(self, association: Association, reason: str, answer: tuple[int, int, int]) -> None:
        self.refused(reason, _peer(association))
        association.acse.send_reject(*answer)
        evt.trigger(association, evt.EVT_REJECTED, {})
        association.kill()


def _peer(association: Association) -> Node:
    """Who has asked, by his AE title as far as that has come."""
    requestor = association.requestor
    calling = requestor.primitive.calling_ae_title if requestor.primitive else ""
    return Node(calling.strip(), str(requestor.address))
