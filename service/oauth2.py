"""Access tokens by OAuth 2.0's client credentials grant (RFC 6749 section 4.4)."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from dataclasses import dataclass
from urllib.parse import quote_plus

from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from pydantic import SecretStr
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from service.web_session import Tls, why_no_answer

# On DEBUG these log client secrets and tokens.
for _library in ("oauthlib", "requests_oauthlib"):
    logging.getLogger(_library).setLevel(logging.INFO)

_EARLY_SECONDS = 10.0
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


class NoToken(Exception):
    """The token endpoint gave no token; the text says what the operator should look at."""


@dataclass(frozen=True)
class OAuth2ClientCredentials:
    """How we identify ourselves to a token endpoint (``https://…``).

    scope: what to ask for, names separated by spaces; empty asks for the client's default.
    """

    token_url: str
    client_id: str
    client_secret: SecretStr
    scope: str = ""

    def __post_init__(self) -> None:
        if not self.token_url.startswith("https://"):
            raise ValueError("token_url must begin with https://")


class AccessTokens:
    """The tokens of one client: each is used until it expires. Thread-safe.

    timeout: seconds for the connection, and for the answer.
    """

    def __init__(
        self, credentials: OAuth2ClientCredentials, tls: Tls, timeout: tuple[float, float]
    ) -> None:
        self._credentials = credentials
        self._tls = tls
        self._timeout = timeout
        self._lock = threading.Lock()
        self._token: str | None = None
        self._valid_until = math.inf

    def current(self) -> str:
        """A token that has not expired. Raises NoToken."""
        with self._lock:
            if self._token is None or time.monotonic() >= self._valid_until:
                self._token, lifetime = self._fetch()
                self._valid_until = time.monotonic() + lifetime - _EARLY_SECONDS
            return self._token

    def drop(self, token: str) -> None:
        """``token`` was refused: fetch another one next time, unless this was done already."""
        with self._lock:
            if self._token == token:
                self._token = None

    def _fetch(self) -> tuple[str, float]:
        """A new token and its lifetime in seconds, infinite where the endpoint does not tell."""
        credentials = self._credentials
        with OAuth2Session(client=BackendApplicationClient(credentials.client_id)) as session:
            self._tls.protect(session)
            try:
                token = session.fetch_token(
                    credentials.token_url,
                    auth=_client_authentication(credentials),
                    timeout=self._timeout,
                    # Not the client's: oauthlib raises where the granted scope differs from it.
                    scope=credentials.scope or None,
                )
            except OAuth2Error as error:
                code = error.error if _ERROR_CODE.fullmatch(error.error or "") else "no token"
                raise NoToken(
                    f"{credentials.token_url} refuses us ({code}): see client_id, client_secret"
                ) from None
            except OSError as error:
                raise NoToken(why_no_answer(error, credentials.token_url)) from error
            except (ValueError, TypeError, AttributeError):
                raise NoToken(f"{credentials.token_url} is no OAuth 2.0 token endpoint") from None
        return str(token["access_token"]), float(token.get("expires_in", math.inf))


def _client_authentication(credentials: OAuth2ClientCredentials) -> HTTPBasicAuth:
    """HTTP Basic with both parts form-encoded (RFC 6749 section 2.3.1)."""
    return HTTPBasicAuth(
        quote_plus(credentials.client_id),
        quote_plus(credentials.client_secret.get_secret_value()),
    )
