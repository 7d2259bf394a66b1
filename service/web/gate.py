"""Who asks, and what he may: sessions, API tokens, roles, forged forms, a trace of each login."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

from service.audit.messages import Outcome, user_login
from service.audit.trail import AuditTrail
from service.monitoring.metrics import Metrics
from service.web.accounts import Accounts, Role
from service.web.lockout import FailedLogins
from service.web.sessions import Session, Sessions
from service.web.settings import WebSettings

LIVE_HEADER = "X-Live"
"""Marks a page that refreshes itself, which keeps no session alive."""
CSRF_HEADER = "X-CSRF-Token"

_LOCAL = re.compile(r"/(?![/\\])[\x21-\x7e]*")


class NotLoggedIn(Exception):
    """Nobody is known by what the request brought along."""


class Forbidden(Exception):
    """He may not do that; the text says why."""


class LoginRefused(Exception):
    """locked: whether no password would help now."""

    def __init__(self, locked: bool) -> None:
        super().__init__()
        self.locked = locked


@dataclass(frozen=True)
class Visitor:
    """csrf: what his forms must bring along; None for an API token, which no browser sends by
    itself."""

    name: str
    role: Role
    csrf: str | None

    @property
    def is_operator(self) -> bool:
        return self.role is Role.OPERATOR


class Gate:
    """Raises AccountError where the file of accounts cannot be used."""

    def __init__(
        self, settings: WebSettings, accounts: Accounts, trail: AuditTrail, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._trail = trail
        self._metrics = metrics
        self._sessions = Sessions(60 * settings.idle_minutes, 3600 * settings.longest_hours)
        self._failed = FailedLogins(settings.failures, 60 * settings.lockout_minutes)
        # A cookie of this name is taken over HTTPS alone, from this host alone (RFC 6265bis).
        self._cookie = "__Host-secondread" if settings.encrypted else "secondread"

    @property
    def has_accounts(self) -> bool:
        return bool(self._accounts.everybody())

    def visitor(self, request: Request) -> Visitor:
        """Raises NotLoggedIn."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            holder = self._accounts.holder(token.strip())
            if holder is None:
                raise NotLoggedIn
            return Visitor(holder.name, holder.role, None)
        session = self._session(request)
        if session is None:
            raise NotLoggedIn
        return Visitor(session.name, session.role, session.csrf)

    def log_in(self, name: str, password: str, address: str) -> Session:
        """By a local account. Raises LoginRefused."""
        if self._failed.is_locked(name, address):
            self._record("locked", name, address)
            raise LoginRefused(locked=True)
        account = self._accounts.verify(name, password)
        if account is None:
            self._failed.failed(name, address)
            self._record("failed", name, address)
            raise LoginRefused(locked=False)
        self._failed.succeeded(name, address)
        return self._begin(account.name, account.role, account.stamp, address)

    def let_in(self, name: str, role: Role, address: str) -> Session:
        """Somebody whom the hospital's provider has told us."""
        return self._begin(name, role, None, address)

    def turn_away(self, name: str, address: str) -> None:
        """Somebody whom the provider knows and who has no role here, or whom it does not know."""
        self._record("failed", name, address)

    def log_out(self, request: Request) -> None:
        session = self._session(request)
        if session is not None:
            self._sessions.end(session.identifier)
            address = address_of(request)
            self._trail.write(user_login(session.name, address, logged_in=False))

    def give_cookie(self, response: Response, session: Session) -> None:
        response.set_cookie(
            self._cookie,
            session.identifier,
            httponly=True,
            samesite="lax",
            secure=self._settings.encrypted,
            path="/",
        )

    def take_cookie(self, response: Response) -> None:
        response.delete_cookie(self._cookie, path="/", secure=self._settings.encrypted)

    def _session(self, request: Request) -> Session | None:
        """Not one of a local account that has changed since, or is gone."""
        identifier = request.cookies.get(self._cookie)
        if identifier is None:
            return None
        session = self._sessions.find(identifier, active=LIVE_HEADER not in request.headers)
        if session is None or session.stamp is None:
            return session
        account = self._accounts.find(session.name)
        if account is None or account.stamp != session.stamp:
            self._sessions.end(identifier)
            return None
        return session

    def _begin(self, name: str, role: Role, stamp: str | None, address: str) -> Session:
        self._record("succeeded", name, address)
        return self._sessions.begin(name, role, stamp)

    def _record(self, outcome: str, name: str, address: str) -> None:
        self._metrics.logins.labels(outcome).inc()
        good = outcome == "succeeded"
        self._trail.write(
            user_login(
                name[:64],
                address,
                logged_in=True,
                outcome=Outcome.SUCCESS if good else Outcome.MINOR_FAILURE,
                description="" if good else outcome,
            )
        )


def require_token(visitor: Visitor, token: str | None) -> None:
    """That an order comes from our own page. Raises Forbidden."""
    if visitor.csrf is None:
        return
    if token is None or not hmac.compare_digest(visitor.csrf.encode(), token.encode()):
        raise Forbidden("the form is not from this session: load the page again")


def require_operator(visitor: Visitor) -> None:
    """Raises Forbidden."""
    if not visitor.is_operator:
        raise Forbidden("only operators may do that")


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


def local_path(path: str) -> str:
    """Where to go after a login: never to another site."""
    return path if _LOCAL.fullmatch(path) else "/"
