"""The calling side of an association: C-ECHO, and C-STORE of objects as they lie on disk."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from service.association import bound_socket_waits


@dataclass(frozen=True)
class Peer:
    """Whom we call.

    calling_ae_title: how we introduce ourselves.
    connect_timeout: seconds for the connection, and for the answer to the association request.
    dimse_timeout: seconds for the answer to one message.
    """

    host: str
    port: int
    ae_title: str
    calling_ae_title: str = "SECONDREAD"
    connect_timeout: float = 10.0
    dimse_timeout: float = 60.0


class AssociationFailed(Exception):
    """No association; the text says what the operator should look at."""


class UnreadableObject(Exception):
    """The file cannot be sent; the text says why."""


@dataclass(frozen=True)
class StorageObject:
    """An object to send: its presentation context, and a Part 10 file or a data set."""

    name: str
    sop_class_uid: str
    transfer_syntax_uid: str
    content: Path | Dataset


class Answer(StrEnum):
    """How far a C-STORE got."""

    STATUS = "the peer answered"
    NO_CONTEXT = "the peer rejected the SOP class or transfer syntax"
    NO_ANSWER = "no answer"
    NOT_SENT = "not sent: the association broke before"


@dataclass(frozen=True)
class StoreResult:
    """status: of the C-STORE response, for Answer.STATUS only."""

    name: str
    answer: Answer
    status: int | None = None

    @property
    def stored(self) -> bool:
        """Success, or a warning: the peer has it (0xB000, 0xB006, 0xB007; PS3.4 Table B.2-1)."""
        return self.status is not None and (self.status == 0 or self.status >> 12 == 0xB)

    def __str__(self) -> str:
        if self.status is None:
            return self.answer.value
        return f"{'stored' if self.stored else 'refused'} (0x{self.status:04X})"


def storage_object(path: Path) -> StorageObject:
    """A Part 10 file, to be sent with the bytes it has. Raises UnreadableObject."""
    try:
        meta = read_file_meta_info(path)
        return StorageObject(
            path.name, str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID), path
        )
    except OSError as error:
        raise UnreadableObject(f"{path.name} cannot be read: {error.strerror}") from error
    except Exception as error:
        raise UnreadableObject(f"{path.name} is no DICOM file") from error


def echo(peer: Peer) -> int | None:
    """C-ECHO; returns the status, None without an answer. Raises AssociationFailed."""
    with _associated(peer, [(str(Verification), "1.2.840.10008.1.2")]) as association:
        if not association.is_established:
            raise AssociationFailed(f"{_name(peer)} does not support C-ECHO")
        return _status(association.send_c_echo())


def send_files(
    objects: Sequence[StorageObject],
    peer: Peer,
    on_result: Callable[[StoreResult], None] = lambda result: None,
) -> list[StoreResult]:
    """Send all objects in their order on one association, each in its own transfer syntax.

    on_result: called after each object.
    Raises AssociationFailed if there is no association; what happens later is in the results.
    """
    contexts = dict.fromkeys((item.sop_class_uid, item.transfer_syntax_uid) for item in objects)
    results = []
    with _associated(peer, contexts) as association:
        accepted = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0]))
            for context in association.accepted_contexts
        }
        for item in objects:
            result = _send(association, item, accepted)
            results.append(result)
            on_result(result)
    return results


def _send(
    association: Association, item: StorageObject, accepted: set[tuple[str, str]]
) -> StoreResult:
    if (item.sop_class_uid, item.transfer_syntax_uid) not in accepted:
        return StoreResult(item.name, Answer.NO_CONTEXT)
    try:
        status = _status(association.send_c_store(item.content))
    except RuntimeError:  # what pynetdicom raises where the association is no longer established
        return StoreResult(item.name, Answer.NOT_SENT)
    if status is None:
        return StoreResult(item.name, Answer.NO_ANSWER)
    return StoreResult(item.name, Answer.STATUS, status)


@contextmanager
def _associated(peer: Peer, contexts: Iterable[tuple[str, str]]) -> Iterator[Association]:
    """An association that is released at the end; not established if no context was accepted."""
    ae = AE(peer.calling_ae_title)
    ae.connection_timeout = peer.connect_timeout
    ae.acse_timeout = peer.connect_timeout
    ae.dimse_timeout = peer.dimse_timeout
    ae.network_timeout = peer.dimse_timeout
    for sop_class_uid, transfer_syntax_uid in contexts:
        ae.add_requested_context(sop_class_uid, transfer_syntax_uid)
    connections: list[evt.Event] = []
    handlers = [
        (evt.EVT_CONN_OPEN, connections.append),
        (evt.EVT_CONN_OPEN, bound_socket_waits, [peer.dimse_timeout]),
    ]
    try:
        association = ae.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            max_pdu=131072,
            evt_handlers=handlers,  # type: ignore[arg-type]
        )
    except socket.gaierror as error:
        raise AssociationFailed(f"{peer.host}: no such host") from error
    if not association.is_established and not association.rejected_contexts:
        raise AssociationFailed(_why(association, peer, connected=bool(connections)))
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _why(association: Association, peer: Peer, connected: bool) -> str:
    if not connected:
        return f"no connection to {_name(peer)}: is it running?"
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return f"{_name(peer)} rejected the association: {answer.reason_str.lower()}"
    return f"{_name(peer)} did not answer the association request"


def _name(peer: Peer) -> str:
    return f"{peer.ae_title} at {peer.host}:{peer.port}"


def _status(response: Dataset) -> int | None:
    status = response.get("Status")
    return None if status is None else int(status)
