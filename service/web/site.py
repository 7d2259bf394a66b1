"""What the page's handlers work with, and how they get at it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request

from service.analysis.model_package import Manifest, ModelPackage, ModelPackageError
from service.analysis.model_store import ModelStore, State
from service.audit.messages import instances_viewed
from service.audit.trail import AuditTrail
from service.config import Settings
from service.journal.journal import Journal
from service.journal.records import ImageRow
from service.orders import Orders
from service.web.gate import Gate, Visitor, address_of
from service.web.oidc import OidcLogin
from service.web.pictures import Pictures

_ASK_SECONDS = 60.0
_SCANNER_DAYS = timedelta(days=30)


class NotThere(Exception):
    """What was asked for does not exist; the text says what."""


class Lately:
    """What takes long to ask, and changes seldom. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._scanners: list[str] = []

    def scanners(self, journal: Journal) -> list[str]:
        with self._lock:
            if not self._scanners or time.monotonic() - self._asked_at > _ASK_SECONDS:
                self._scanners = journal.scanners(_SCANNER_DAYS)
                self._asked_at = time.monotonic()
            return self._scanners


@dataclass(frozen=True)
class Models:
    """Which package new studies get, and which one some of them get instead."""

    active: ModelPackage
    state: State
    canary: Manifest | None


@dataclass(frozen=True)
class Site:
    """oidc: None without OpenID Connect."""

    settings: Settings
    journal: Journal
    pictures: Pictures
    trail: AuditTrail
    gate: Gate
    oidc: OidcLogin | None
    lately: Lately = field(default_factory=Lately)

    def scanners(self) -> list[str]:
        """Calling AE titles of the last days; asked of the journal no more than once a minute."""
        return self.lately.scanners(self.journal)

    def image(self, key: str) -> ImageRow:
        """Raises NotThere."""
        row = self.journal.image(key)
        if row is None:
            raise NotThere("no such image in the journal")
        return row

    def orders_of(self, visitor: Visitor) -> Orders:
        return Orders(self.settings, self.journal, self.trail, visitor.name)

    def record_view(self, request: Request, visitor: Visitor, row: ImageRow) -> None:
        """In the audit trail, before a picture leaves."""
        reference = (row.sop_class_uid, row.sop_instance_uid)
        self.trail.write(
            instances_viewed(visitor.name, address_of(request), row.study_instance_uid, reference)
        )

    def models(self) -> Models:
        """Raises NotThere with what is wrong with one of them."""
        store = ModelStore(self.settings)
        try:
            state = store.state()
            _, *canary = store.in_use()
            return Models(store.package(state.active), state, next(iter(canary), None))
        except ModelPackageError as error:
            raise NotThere(str(error)) from error


def site_of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


def visitor_of(request: Request) -> Visitor:
    """Raises NotLoggedIn."""
    return site_of(request).gate.visitor(request)


TheSite = Annotated[Site, Depends(site_of)]
AVisitor = Annotated[Visitor, Depends(visitor_of)]
