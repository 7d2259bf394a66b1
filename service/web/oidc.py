"""Login by the hospital's OpenID Connect provider: authorization code flow with PKCE."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth
from fastapi import Request
from joserfc.errors import JoseError
from starlette.responses import Response

from service.config import ConfigurationError
from service.web.accounts import Role
from service.web.settings import OidcSettings

CALLBACK = "/login/oidc/callback"


class OidcRefused(Exception):
    """name: whom the provider named, empty if nobody. The text says why he is not let in."""

    def __init__(self, why: str, name: str = "") -> None:
        super().__init__(why)
        self.name = name


@dataclass(frozen=True)
class Person:
    name: str
    role: Role


class OidcLogin:
    """url: the page's address, without a slash at its end.

    Raises ConfigurationError if a file cannot be used.
    """

    def __init__(self, settings: OidcSettings, url: str) -> None:
        self._settings = settings
        self._issuer = str(settings.issuer).rstrip("/")
        self._callback = f"{url}{CALLBACK}"
        try:
            secret = settings.client_secret_file.read_text().strip()
            trusted = ssl.create_default_context(cafile=settings.ca_file)
        except OSError as error:
            raise ConfigurationError(
                f"web.oidc: client_secret_file or ca_file cannot be used: {error.strerror}"
            ) from None
        self._client = OAuth().register(
            "provider",
            client_id=settings.client_id,
            client_secret=secret,
            server_metadata_url=f"{self._issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid profile email",
                "code_challenge_method": "S256",
                "verify": trusted,
                "timeout": 10,
            },
        )

    @property
    def name(self) -> str:
        """For the button."""
        return self._settings.name

    async def send_away(self, request: Request) -> Response:
        """To the provider. Raises OidcRefused if it does not answer."""
        try:
            answer: Response = await self._client.authorize_redirect(request, self._callback)
        except Exception as error:
            raise OidcRefused("the provider does not answer as it should") from error
        return answer

    async def take_back(self, request: Request) -> Person:
        """Whoever comes back from the provider. Raises OidcRefused."""
        try:
            token: dict[str, Any] = await self._client.authorize_access_token(
                request,
                claims_options={
                    "iss": {"essential": True, "values": [self._issuer, f"{self._issuer}/"]},
                    "aud": {"essential": True, "values": [self._settings.client_id]},
                    "sub": {"essential": True},
                },
            )
        except (OAuthError, JoseError) as error:
            raise OidcRefused("the provider did not let you in, or it took too long") from error
        except Exception as error:
            raise OidcRefused("the provider does not answer as it should") from error
        claims = token.get("userinfo")
        if not claims:
            raise OidcRefused("the provider did not say who you are")
        name = str(claims.get("preferred_username") or claims.get("email") or claims["sub"])[:64]
        role = self._role(claims.get(self._settings.groups_claim))
        if role is None:
            raise OidcRefused("you are in no group that may see this page", name)
        return Person(name, role)

    def _role(self, groups: object) -> Role | None:
        several = groups if isinstance(groups, list) else [groups]
        named = {group for group in several if isinstance(group, str)}
        if named & set(self._settings.operators):
            return Role.OPERATOR
        if named & set(self._settings.viewers):
            return Role.VIEWER
        return None
