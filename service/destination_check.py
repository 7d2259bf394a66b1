"""Whether a destination is there: for ``secondread doctor`` and for the web page."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from service.config import Settings
from service.destination import Destination, DimseDestination
from service.scu import AssociationFailed, Peer, echo

_SECONDS = 5.0
_HTTP_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Finding:
    """One look.

    good: None where nothing could be said, such as of a broker that only runs with the service.
    found: in words. advice: what to do, empty if nothing.
    """

    subject: str
    good: bool | None
    found: str
    advice: str = ""


def look_at(destination: Destination, settings: Settings) -> Finding:
    """Whether a destination is there."""
    subject = f"destination {destination.name}"
    if not isinstance(destination, DimseDestination):
        return _web_destination(subject, str(destination.url))
    peer = Peer(
        destination.host,
        destination.port,
        destination.ae_title,
        dimse_timeout=_SECONDS,
        tls=destination.tls,
    )
    try:
        status = echo(peer, settings.delivery.ae_title)
    except AssociationFailed as error:
        advice = f"does it know our AE title {settings.delivery.ae_title} and address?"
        return Finding(subject, False, str(error), advice)
    if status != 0:
        words = "no answer" if status is None else f"0x{status:04X}"
        return Finding(subject, False, f"C-ECHO: {words}", "ask its administrator")
    return Finding(subject, True, "answers C-ECHO")


def _web_destination(subject: str, url: str) -> Finding:
    """Whether anybody listens; a request would have to store something."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or _HTTP_PORTS.get(parts.scheme, 443))
    try:
        with socket.create_connection(address, _SECONDS):
            return Finding(subject, True, f"listens at {address[0]}:{address[1]}")
    except OSError as error:
        words = f"nobody listens at {address[0]}:{address[1]}: {error.strerror or 'no answer'}"
        return Finding(subject, False, words, "is the URL right, is it running?")
