"""The two ways to a destination, DIMSE C-STORE and STOW-RS, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from pydicom.uid import ExplicitVRLittleEndian

from service.config import ConfigurationError
from service.delivery.form import REPORT_CLASS_UIDS
from service.destination import (
    BasicAuthentication,
    Destination,
    DimseDestination,
    OAuth2Authentication,
    ReportClass,
    StowDestination,
)
from service.oauth2 import OAuth2ClientCredentials
from service.scu import Peer, SendOutcome, StorageObject, store_association
from service.sections import DeliverySettings
from service.stow import Basic, StowClient, StowPeer


@dataclass(frozen=True)
class Transport:
    """An open way to one destination.

    report_class: in which it takes reports.
    send: objects in the form that it takes, in their order; one outcome for each.
    """

    report_class: ReportClass
    send: Callable[[Sequence[StorageObject]], Sequence[SendOutcome]]


class Way(ABC):
    """How one destination is reached. Thread-safe."""

    @abstractmethod
    def open(self, contexts: Sequence[tuple[str, str]]) -> AbstractContextManager[Transport]:
        """contexts: SOP class and transfer syntax of all that will be sent.

        Raises AssociationFailed if it is not reached.
        """


def way_to(destination: Destination, settings: DeliverySettings) -> Way:
    """Raises ConfigurationError if a secret cannot be read, or an address is none."""
    if isinstance(destination, DimseDestination):
        return _Dimse(destination, settings)
    return _StowRs(destination, settings)


def dimse_peer(destination: DimseDestination, settings: DeliverySettings) -> Peer:
    return Peer(
        host=destination.host,
        port=destination.port,
        ae_title=destination.ae_title,
        connect_timeout=settings.connect_timeout,
        dimse_timeout=settings.dimse_timeout,
        tls=destination.tls,
    )


class _Dimse(Way):
    """One association for each parcel."""

    def __init__(self, destination: DimseDestination, settings: DeliverySettings) -> None:
        self._classes = destination.report_classes
        self._ae_title = settings.ae_title
        self._peer = dimse_peer(destination, settings)

    @contextmanager
    def open(self, contexts: Sequence[tuple[str, str]]) -> Iterator[Transport]:
        """All report classes are proposed; the first that is accepted, in our order, is taken."""
        syntax = str(ExplicitVRLittleEndian)
        reports = [(REPORT_CLASS_UIDS[each], syntax) for each in self._classes]
        proposed = dict.fromkeys((*reports, *contexts))
        with store_association(self._peer, self._ae_title, proposed) as association:
            accepted = [
                each
                for each in self._classes
                if association.accepts(REPORT_CLASS_UIDS[each], syntax)
            ]
            yield Transport(
                (*accepted, *self._classes)[0],
                lambda objects: [association.store(each) for each in objects],
            )


class _StowRs(Way):
    """One connection for each parcel. Nothing is negotiated: the first report class is taken."""

    def __init__(self, destination: StowDestination, settings: DeliverySettings) -> None:
        try:
            peer = StowPeer(
                url=str(destination.url),
                authentication=_credentials(destination.authentication),
                ca_file=destination.ca_file,
                client_certificate=destination.client_certificate,
                client_key=destination.client_key,
                connect_timeout=settings.connect_timeout,
                answer_timeout=settings.dimse_timeout,
            )
        except ValueError as error:
            raise ConfigurationError(f"destination {destination.name}: {error}") from None
        self._report_class = destination.report_classes[0]
        self._client = StowClient(peer)

    @contextmanager
    def open(self, contexts: Sequence[tuple[str, str]]) -> Iterator[Transport]:
        yield Transport(
            self._report_class, lambda objects: self._client.store([each.path for each in objects])
        )


def _credentials(
    authentication: BasicAuthentication | OAuth2Authentication | None,
) -> Basic | OAuth2ClientCredentials | None:
    if isinstance(authentication, BasicAuthentication):
        return Basic(authentication.user, _secret(authentication.password_file))
    if isinstance(authentication, OAuth2Authentication):
        return OAuth2ClientCredentials(
            token_url=str(authentication.token_url),
            client_id=authentication.client_id,
            client_secret=_secret(authentication.client_secret_file),
            scope=authentication.scope,
        )
    return None


def _secret(path: Path) -> SecretStr:
    try:
        return SecretStr(path.read_text().strip())
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"the secret file {path} cannot be read") from None
