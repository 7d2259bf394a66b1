"""HTTP sessions with a peer whose certificate, and ours, are a matter of its configuration."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests


@dataclass(frozen=True)
class Tls:
    """Whom we trust, and who we are (PEM files).

    ca_file: certificates of the authorities that are trusted, in place of the public ones.
    client_certificate, client_key: ours, where the peer asks for one; the key may also stand in
        the certificate's file.
    """

    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None

    def protect(self, session: requests.Session) -> None:
        """Set up ``session``, which from now on takes nothing from the environment.

        The environment could bring a proxy, a .netrc file with passwords, or authorities that
        would take the place of ``ca_file``.
        """
        session.trust_env = False
        session.verify = str(self.ca_file) if self.ca_file else True
        if self.client_certificate and self.client_key:
            session.cert = (str(self.client_certificate), str(self.client_key))
        elif self.client_certificate:
            session.cert = str(self.client_certificate)


def why_no_answer(error: OSError, url: str) -> str:
    """What the operator should look at, where a request to ``url`` got no answer.

    error: what requests raised. Its own text is not used.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{url}: its certificate is not trusted ({cause.verify_message}): see ca_file"
        if isinstance(cause, ssl.SSLError):
            reason = (cause.reason or "no reason given").replace("_", " ").lower()
            return f"no TLS with {url} ({reason}): does it ask for a client certificate?"
        if isinstance(cause, socket.gaierror):
            return f"{url}: no such host"
    if not isinstance(error, requests.RequestException):
        return f"{url}: ca_file, client_certificate or client_key cannot be read"
    if isinstance(error, requests.ReadTimeout):
        return f"{url} did not answer in time"
    if isinstance(error, requests.ConnectTimeout) or any(
        isinstance(cause, ConnectionRefusedError) for cause in causes
    ):
        return f"no connection to {url}: is it running?"
    if isinstance(error, requests.ConnectionError):
        # So it ends, with TLS 1.3, where a client certificate is missing.
        perhaps = ": does it ask for a client certificate?" if url.startswith("https:") else ""
        return f"the connection to {url} broke off{perhaps}"
    return f"no answer of {url} that can be used ({type(error).__name__})"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
