"""The calling side of an association: C-ECHO, and C-STORE of files with the bytes they have."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dsutils import encode, split_dataset
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from service.association import Handler, application_entity, bound_socket_waits
from service.config import ConfigurationError
from service.destination import ClientTls
from service.still_image import UnreadableImage, wrap_still_image
from service.tls import client_context
from service.upper_layer import Broken, Rejected, UpperLayer

_FILES_AN_ASSOCIATION = 64


@dataclass(frozen=True)
class Peer:
    """Whom we call.

    connect_timeout: seconds for the connection, and for the answer to the association request.
    dimse_timeout: seconds for the answer to one message.
    tls: None for a connection without.
    """

    host: str
    port: int
    ae_title: str
    connect_timeout: float = 10.0
    dimse_timeout: float = 60.0
    tls: ClientTls | None = None

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"


class AssociationFailed(Exception):
    """No association; the text says what the operator should look at."""


class UnreadableFile(Exception):
    """The file cannot be sent; the text says why."""


class Answer(StrEnum):
    """How far a C-STORE got; the values are for the operator."""

    STATUS = "answered"
    NO_CONTEXT = "the peer rejected its SOP class or transfer syntax"
    NO_ANSWER = "the peer did not answer"
    NOT_SENT = "not sent: the association had ended"
    UNREADABLE = "neither DICOM nor a picture"


@dataclass(frozen=True)
class StorageObject:
    """An object to send; ``data_set`` is None where the file itself is sent, byte for byte.

    offset: where the data set begins in the file.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: Dataset | None = None
    offset: int = 0


@dataclass(frozen=True)
class SendOutcome:
    """What became of one file.

    sop_instance_uid: None for an unreadable file.
    status: of the C-STORE response; None unless the peer answered.
    """

    path: Path
    sop_instance_uid: str | None
    answer: Answer
    status: int | None = None

    @property
    def stored(self) -> bool:
        """Success, or a warning: the peer has it (0xB000, 0xB006, 0xB007; PS3.4 Table B.2-1)."""
        return self.status is not None and (self.status == 0 or self.status >> 12 == 0xB)

    @property
    def text(self) -> str:
        """The outcome for the operator, such as ``refused (0xA900)``."""
        if self.status is None:
            return self.answer.value
        return f"{'stored' if self.stored else 'refused'} (0x{self.status:04X})"


OnSent = Callable[[SendOutcome], None]


def files_below(paths: Iterable[Path]) -> Iterator[Path]:
    """The files themselves, and of each folder all below it but hidden ones and a DICOMDIR."""
    for path in paths:
        if path.is_dir():
            inside = (item for item in sorted(path.rglob("*")) if item.is_file())
            yield from (i for i in inside if not i.name.startswith(".") and i.name != "DICOMDIR")
        else:
            yield path


def storage_object(path: Path) -> StorageObject:
    """A Part 10 file, to be sent with the bytes it has. Raises UnreadableFile."""
    try:
        meta, offset = split_dataset(path)
        return StorageObject(
            path,
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
            str(meta.TransferSyntaxUID),
            offset=offset,
        )
    except OSError as error:
        raise UnreadableFile(f"{path.name} cannot be read: {error.strerror}") from error
    except Exception as error:
        raise UnreadableFile(f"{path.name} is no DICOM file") from error


def echo(peer: Peer, calling_ae_title: str) -> int | None:
    """C-ECHO; returns the status, None without an answer. Raises AssociationFailed."""
    contexts = [(str(Verification), "1.2.840.10008.1.2")]
    with associated(peer, calling_ae_title, contexts) as association:
        if not association.is_established:
            raise AssociationFailed(f"{peer} does not support C-ECHO")
        return status_of(association.send_c_echo())


class StoreAssociation:
    """An open association for C-STORE."""

    def __init__(self, upper_layer: UpperLayer, seconds: float) -> None:
        self._upper_layer = upper_layer
        self._seconds = seconds

    def accepts(self, sop_class_uid: str, transfer_syntax_uid: str) -> bool:
        return (sop_class_uid, transfer_syntax_uid) in self._upper_layer.accepted

    def store(self, item: StorageObject) -> SendOutcome:
        uid = item.sop_instance_uid
        if not self.accepts(item.sop_class_uid, item.transfer_syntax_uid):
            return SendOutcome(item.path, uid, Answer.NO_CONTEXT)
        if not self._upper_layer.is_open:
            return SendOutcome(item.path, uid, Answer.NOT_SENT)
        context_id = self._upper_layer.accepted[item.sop_class_uid, item.transfer_syntax_uid]
        with _data_set(item) as stream:
            try:
                status = self._upper_layer.store(
                    context_id, item.sop_class_uid, uid, stream, self._seconds
                )
            except Broken:
                return SendOutcome(item.path, uid, Answer.NO_ANSWER)
        return SendOutcome(item.path, uid, Answer.STATUS, status)


def _data_set(item: StorageObject) -> BinaryIO:
    """The encoded data set, to be read from where it stands. Raises OSError."""
    if item.data_set is not None:
        syntax = UID(item.transfer_syntax_uid)
        encoded = encode(
            item.data_set, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated
        )
        return BytesIO(encoded or b"")
    stream = item.path.open("rb")
    stream.seek(item.offset)
    return stream


@contextmanager
def store_association(
    peer: Peer, calling_ae_title: str, contexts: Iterable[tuple[str, str]]
) -> Iterator[StoreAssociation]:
    """Propose each pair of SOP class and transfer syntax as a presentation context of its own.

    Raises AssociationFailed if there is no association; one that accepted no context is one.
    """
    try:
        connection = _connected(peer)
        upper_layer = UpperLayer(
            connection, calling_ae_title, peer.ae_title, tuple(contexts), peer.connect_timeout
        )
    except Rejected as error:
        reason = str(error).lower()
        raise AssociationFailed(f"{peer} rejected the association: {reason}") from None
    except Broken:
        raise AssociationFailed(f"{peer} did not answer the association request") from None
    try:
        yield StoreAssociation(upper_layer, peer.dimse_timeout)
    finally:
        upper_layer.release(peer.connect_timeout)


def _connected(peer: Peer) -> socket.socket:
    """Raises AssociationFailed."""
    tls = _tls_arguments(peer)
    try:
        connection = socket.create_connection((peer.host, peer.port), peer.connect_timeout)
    except socket.gaierror as error:
        raise AssociationFailed(f"{peer.host}: no such host") from error
    except OSError:
        raise AssociationFailed(_not_connected(peer)) from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return connection
    try:
        return tls[0].wrap_socket(connection, server_hostname=tls[1])
    except OSError:
        connection.close()
        raise AssociationFailed(_not_connected(peer)) from None


def send_objects(
    objects: Sequence[StorageObject],
    peer: Peer,
    calling_ae_title: str,
    on_sent: OnSent = lambda outcome: None,
) -> list[SendOutcome]:
    """Send all objects in their order on one association, each in its own transfer syntax.

    on_sent: called after each object.
    Raises AssociationFailed if there is no association; what happens later is in the outcomes.
    """
    contexts = dict.fromkeys((item.sop_class_uid, item.transfer_syntax_uid) for item in objects)
    outcomes = []
    with store_association(peer, calling_ae_title, contexts) as association:
        for item in objects:
            outcome = association.store(item)
            outcomes.append(outcome)
            on_sent(outcome)
    return outcomes


def send_files(
    files: Sequence[Path],
    peer: Peer,
    calling_ae_title: str,
    on_sent: OnSent = lambda outcome: None,
) -> list[SendOutcome]:
    """Send files as a scanner would; what is no DICOM but a picture is wrapped as US Image.

    Raises AssociationFailed; ``on_sent`` has then told of what was sent before.
    """
    outcomes: list[SendOutcome] = []

    def keep(outcome: SendOutcome) -> None:
        outcomes.append(outcome)
        on_sent(outcome)

    for start in range(0, len(files), _FILES_AN_ASSOCIATION):
        objects = []
        for path in files[start : start + _FILES_AN_ASSOCIATION]:
            try:
                objects.append(_object_or_picture(path))
            except UnreadableFile:
                keep(SendOutcome(path, None, Answer.UNREADABLE))
        if objects:
            send_objects(objects, peer, calling_ae_title, keep)
    return outcomes


def _object_or_picture(path: Path) -> StorageObject:
    """Raises UnreadableFile."""
    try:
        return storage_object(path)
    except UnreadableFile:
        try:
            data_set = wrap_still_image(path)
        except UnreadableImage as error:
            raise UnreadableFile(str(error)) from error
        return StorageObject(
            path,
            str(data_set.SOPClassUID),
            str(data_set.SOPInstanceUID),
            str(data_set.file_meta.TransferSyntaxUID),
            data_set,
        )


@contextmanager
def associated(
    peer: Peer,
    calling_ae_title: str,
    contexts: Iterable[tuple[str, str]],
    handlers: Sequence[Handler] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """An association that is released at the end; not established if no context was accepted.

    handlers: pairs of a pynetdicom event and its handler. roles: proposed for the contexts.
    Raises AssociationFailed.
    """
    ae = application_entity(calling_ae_title)
    ae.connection_timeout = peer.connect_timeout
    ae.acse_timeout = peer.connect_timeout
    ae.dimse_timeout = peer.dimse_timeout
    ae.network_timeout = peer.dimse_timeout
    for sop_class_uid, transfer_syntax_uid in contexts:
        ae.add_requested_context(sop_class_uid, transfer_syntax_uid)
    connections: list[evt.Event] = []
    every = [
        *handlers,
        (evt.EVT_CONN_OPEN, connections.append),
        (evt.EVT_CONN_OPEN, bound_socket_waits, [peer.dimse_timeout]),
    ]
    try:
        association = ae.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            ext_neg=list(roles),
            tls_args=_tls_arguments(peer),
            evt_handlers=every,
        )
    except socket.gaierror as error:
        raise AssociationFailed(f"{peer.host}: no such host") from error
    if not association.is_established and not association.rejected_contexts:
        raise AssociationFailed(_why_not(association, peer, connected=bool(connections)))
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _tls_arguments(peer: Peer) -> tuple[ssl.SSLContext, str] | None:
    if peer.tls is None:
        return None
    try:
        return client_context(peer.tls), peer.host
    except ConfigurationError as error:
        raise AssociationFailed(str(error)) from None


def _why_not(association: Association, peer: Peer, connected: bool) -> str:
    if not connected:
        return _not_connected(peer)
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return f"{peer} rejected the association: {answer.reason_str.lower()}"
    return f"{peer} did not answer the association request"


def _not_connected(peer: Peer) -> str:
    if peer.tls:
        return f"no TLS connection to {peer}: is it running, does each side trust the other's?"
    return f"no connection to {peer}: is it running?"


def status_of(response: Dataset) -> int | None:
    """Of a DIMSE response; None if there came none."""
    status = response.get("Status")
    return None if status is None else int(status)
