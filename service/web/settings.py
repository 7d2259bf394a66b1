"""The configuration of the web page: where it listens, who may log in, and for how long."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Self

from pydantic import Field, IPvAnyNetwork, model_validator

from service.destination import PlainUrl, Port, Section


class WebTls(Section):
    """certificate, key: PEM files of ours; a changed one is used after a restart."""

    certificate: Path
    key: Path


class OidcSettings(Section):
    """Login by the hospital's OpenID Connect provider (authorization code flow with PKCE).

    name: what the button says.
    issuer: its URL; ``/.well-known/openid-configuration`` lies under it.
    client_secret_file: holds the secret and nothing else.
    ca_file: PEM of the authorities that we trust, in place of the public ones.
    groups_claim: the claim that lists a person's groups.
    operators, viewers: groups whose members have that role; who is in none is not let in.
    """

    name: str = "OpenID Connect"
    issuer: PlainUrl
    client_id: str
    client_secret_file: Path
    ca_file: Path | None = None
    groups_claim: str = "groups"
    operators: tuple[str, ...] = ()
    viewers: tuple[str, ...] = ()


class WebSettings(Section):
    """The page and the REST API.

    tls: without it the page is for this machine alone, or for a proxy that ends TLS.
    proxy: address or network of that proxy; what it says of who asks is believed.
    url: the page's address as people type it; OpenID Connect needs it.
    accounts_file: local accounts; ``accounts.json`` in ``data_dir`` by default.
    idle_minutes, longest_hours: after which a session ends.
    failures: wrong passwords for one name from one address, after which both are locked together
        for ``lockout_minutes``; ten times as many lock the name, or the address, alone.
    """

    host: str = "127.0.0.1"
    port: Port = 8180
    tls: WebTls | None = None
    proxy: IPvAnyNetwork | None = None
    url: PlainUrl | None = None
    accounts_file: Path | None = None
    idle_minutes: float = Field(default=15, gt=0, le=1440)
    longest_hours: float = Field(default=10, gt=0, le=24)
    failures: int = Field(default=5, ge=1)
    lockout_minutes: float = Field(default=15, gt=0)
    oidc: OidcSettings | None = None

    @property
    def encrypted(self) -> bool:
        """Whether browsers reach it by HTTPS."""
        return self.tls is not None or self.proxy is not None

    @model_validator(mode="after")
    def _no_images_in_the_clear(self) -> Self:
        if not self.encrypted and not _is_loopback(self.host):
            raise ValueError(
                "images would pass unencrypted: set web.tls, or web.proxy for one that ends TLS"
            )
        if self.oidc is not None and self.url is None:
            raise ValueError("url is needed for oidc: the provider sends people back to it")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
