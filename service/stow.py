"""Storing through the web: STOW-RS (DICOM PS3.18 section 10.5), each file with the bytes it has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import requests
from dicomweb_client.web import DICOMwebClient, _load_xml_dataset
from pydantic import SecretStr
from pydicom import dcmread
from pydicom.dataset import Dataset
from requests.auth import AuthBase, HTTPBasicAuth

from service.oauth2 import AccessTokens, NoToken, OAuth2ClientCredentials
from service.scu import Answer, AssociationFailed, SendOutcome, UnreadableFile, storage_object
from service.web_session import Tls, why_no_answer

_PROCESSING_FAILURE = 0x0110
_OUT_OF_RESOURCES = 0xA700
_CANNOT_UNDERSTAND = 0xC000

_CLOSED = {
    401: "refuses our credentials: see its authentication",
    403: "does not let us store: see what our account may do there",
    404: "has no STOW-RS there: see its url",
    405: "has no STOW-RS there: see its url",
    501: "has no STOW-RS there: see its url",
}
"""HTTP statuses that say nothing of the object: until somebody acts, none can be stored."""

_HEALING = {
    408: _PROCESSING_FAILURE,
    413: _OUT_OF_RESOURCES,
    429: _OUT_OF_RESOURCES,
    503: _OUT_OF_RESOURCES,
    507: _OUT_OF_RESOURCES,
}
"""HTTP statuses and the DICOM statuses that they amount to, where waiting heals."""

_ACCEPTED = "application/dicom+json, application/dicom+xml;q=0.5"


@dataclass(frozen=True)
class Basic:
    """HTTP Basic authentication (RFC 7617)."""

    user: str
    password: SecretStr


@dataclass(frozen=True)
class StowPeer:
    """An origin server that stores.

    url: DICOMweb's root, to which ``/studies`` is added; what it begins with decides upon TLS.
    ca_file, client_certificate, client_key: see Tls; they hold for the token endpoint too.
    connect_timeout, answer_timeout: seconds for the connection, and for the answer to a request.
    """

    url: str
    authentication: Basic | OAuth2ClientCredentials | None = None
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    connect_timeout: float = 10.0
    answer_timeout: float = 60.0

    def __post_init__(self) -> None:
        url = urlsplit(self.url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("url must begin with http:// or https:// and a host")
        if url.username is not None or url.query or url.fragment:
            raise ValueError("url is an address alone, without credentials or a query")
        if isinstance(self.authentication, OAuth2ClientCredentials) and url.scheme != "https":
            raise ValueError("an access token is sent by https:// alone")
        if self.client_key is not None and self.client_certificate is None:
            raise ValueError("client_key needs a client_certificate")

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class StowOutcome(SendOutcome):
    """What became of one object.

    status: of the object as the server tells it (Failure or Warning Reason, 0 if it is stored
        and that is all), or the status that ``http_status`` amounts to; None if a success does
        not name the object.
    """

    http_status: int = 0

    @property
    def text(self) -> str:
        """The outcome for the operator, such as ``refused (0xC122), HTTP 409``."""
        if self.answer is Answer.NO_ANSWER:
            return f"not stored: HTTP {self.http_status}, but the answer does not name it"
        return f"{super().text}, HTTP {self.http_status}"


class StowClient:
    """Stores objects at one peer; keeps its access token between two calls. Thread-safe."""

    def __init__(self, peer: StowPeer) -> None:
        self._peer = peer
        self._tls = Tls(peer.ca_file, peer.client_certificate, peer.client_key)
        self._timeout = (peer.connect_timeout, peer.answer_timeout)
        self._tokens = None
        if isinstance(peer.authentication, OAuth2ClientCredentials):
            self._tokens = AccessTokens(peer.authentication, self._tls, self._timeout)

    def store(self, objects: Sequence[Path | bytes]) -> list[StowOutcome]:
        """Send all objects in their order on one connection, each in a request of its own.

        objects: Part 10 files, or their content. One at a time is held in memory.

        Raises AssociationFailed where the peer gives no answer, or none that is about the object;
        UnreadableFile, before anything is sent, if an object has no SOP Instance UID.
        """
        named = [(item, *_named(item)) for item in objects]
        with requests.Session() as session:
            self._tls.protect(session)
            if isinstance(self._peer.authentication, Basic):
                session.auth = _basic(self._peer.authentication)
            client = _Client(self._peer.url.rstrip("/"), session, timeout=self._timeout)
            return [self._store(client, item, path, uid) for item, path, uid in named]

    def _store(self, client: _Client, item: Path | bytes, path: Path, uid: str) -> StowOutcome:
        content = _content(item)
        try:
            response = self._post(client, content)
        except NoToken as error:
            raise AssociationFailed(str(error)) from error
        except OSError as error:
            raise AssociationFailed(why_no_answer(error, self._peer.url)) from error
        http_status = response.status_code
        if why := _CLOSED.get(http_status):
            raise AssociationFailed(f"{self._peer} {why} (HTTP {http_status})")
        if 300 <= http_status < 400:
            raise AssociationFailed(
                f"{self._peer} lies elsewhere (HTTP {http_status}): see its url"
            )
        return StowOutcome(path, uid, *_meaning(response, uid), http_status)

    def _post(self, client: _Client, content: bytes) -> requests.Response:
        """Raises NoToken, OSError."""
        if self._tokens is None:
            return client.store_file(content)
        token = self._tokens.current()
        response = client.store_file(content, _Bearer(token))
        if response.status_code == 401:  # it may have been revoked before its time
            self._tokens.drop(token)
            response = client.store_file(content, _Bearer(self._tokens.current()))
        return response


class _Client(DICOMwebClient):
    """Its own ``store_instances`` takes data sets, which it would encode anew."""

    def store_file(self, content: bytes, auth: AuthBase | None = None) -> requests.Response:
        """The answer to a file that is sent as it is, whatever the answer's status.

        The body is sent with its length (not every server takes chunks) and in small blocks, so
        that the timeout counts for each, not for all.
        """
        boundary = hashlib.sha256(content).hexdigest()
        content_type = f'multipart/related; type="application/dicom"; boundary="{boundary}"'
        return self._session.post(
            f"{self.base_url}/studies",
            data=BytesIO(self._encode_multipart_message([content], content_type)),
            headers={"Content-Type": content_type, "Accept": _ACCEPTED},
            timeout=self._timeout,
            auth=auth,
            allow_redirects=False,
        )


class _Bearer(AuthBase):
    """RFC 6750 section 2.1."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _basic(authentication: Basic) -> HTTPBasicAuth:
    """In UTF-8, for requests would take Latin-1, and quote what does not fit."""
    password = authentication.password.get_secret_value()
    return HTTPBasicAuth(authentication.user.encode(), password.encode())


def _named(item: Path | bytes) -> tuple[Path, str]:
    """Path and SOP Instance UID; what is not on disk has its UID for a name."""
    if isinstance(item, Path):
        return item, storage_object(item).sop_instance_uid
    try:
        header = dcmread(BytesIO(item), specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
        uid = str(header.file_meta.MediaStorageSOPInstanceUID)
    except Exception as error:
        raise UnreadableFile("an object in memory is no DICOM file") from error
    return Path(f"{uid}.dcm"), uid


def _content(item: Path | bytes) -> bytes:
    if isinstance(item, bytes):
        return item
    try:
        return item.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"{item.name} cannot be read: {error.strerror}") from error


def _meaning(response: requests.Response, sop_instance_uid: str) -> tuple[Answer, int | None]:
    """What an answer says of an object (PS3.18 section 10.5.3 and Annex I), in C-STORE's terms."""
    http_status = response.status_code
    status = _told_status(response.content, sop_instance_uid)
    if status is not None:
        return Answer.STATUS, status
    if 200 <= http_status < 300:
        return Answer.NO_ANSWER, None
    if http_status == 415:
        return Answer.NO_CONTEXT, None
    unknown = _PROCESSING_FAILURE if http_status >= 500 else _CANNOT_UNDERSTAND
    return Answer.STATUS, _HEALING.get(http_status, unknown)


def _told_status(body: bytes, sop_instance_uid: str) -> int | None:
    """The status that the Store Instances Response (PS3.18 Annex I) tells of an object."""
    try:
        answers = list(_data_sets(body))
        for item in _items(answers, "FailedSOPSequence", sop_instance_uid):
            reason = int(item.get("FailureReason") or _PROCESSING_FAILURE)
            return _PROCESSING_FAILURE if reason >> 12 == 0xB else reason
        for item in _items(answers, "ReferencedSOPSequence", sop_instance_uid):
            warning = int(item.get("WarningReason") or 0)
            return warning if warning >> 12 == 0xB else 0
    except Exception:  # noqa: BLE001 - whatever pydicom raises for what a server may write
        return None
    return None


def _data_sets(body: bytes) -> Iterator[Dataset]:
    """Told apart by how they begin, for a server may leave the media type out (Orthanc does)."""
    if body.lstrip().startswith(b"<"):
        yield _load_xml_dataset(ElementTree.fromstring(body))  # noqa: S314 - our own PACS
    elif body.strip():
        answer = json.loads(body)
        for data_set in answer if isinstance(answer, list) else [answer]:
            yield Dataset.from_json(data_set)


def _items(answers: Sequence[Dataset], sequence: str, sop_instance_uid: str) -> Iterator[Dataset]:
    for answer in answers:
        for item in answer.get(sequence) or ():
            if item.get("ReferencedSOPInstanceUID") == sop_instance_uid:
                yield item
