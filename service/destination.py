"""What the operator says of a PACS: how it is reached, what it gets, and in which form."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

AeTitle = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$"),
]
"""PS3.5 section 6.2: spaces around it mean nothing, and it is not made of spaces alone."""
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SeriesNumber = Annotated[int, Field(ge=0, le=2**31 - 1)]
SeriesDescription = Annotated[str, StringConstraints(max_length=64, pattern=r"^[ -\[\]-~]*$")]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectKind(StrEnum):
    """What a destination may get: of each image all but the last, of each study the last."""

    REPORT = "sr"
    OVERLAY = "sc"
    SEGMENTATION = "seg"
    PRESENTATION_STATE = "pr"
    KEY_OBJECTS = "ko"
    SUMMARY = "summary"


class ReportClass(StrEnum):
    """SOP classes that can hold our reports."""

    COMPREHENSIVE_3D = "comprehensive-3d"
    COMPREHENSIVE = "comprehensive"
    ENHANCED = "enhanced"


class CharacterSet(StrEnum):
    """source: the image's own, UTF-8 where that uses code extensions."""

    SOURCE = "source"
    UTF_8 = "utf-8"
    GB18030 = "gb18030"


class _Destination(Section):
    """name: for logs, metrics and the journal.

    objects: what it gets.
    report_classes: in order of preference; the first that it accepts is sent.
    character_set: of all that it gets.
    series_numbers, series_descriptions: by object, in place of ours.
    overlay_modality: some viewers hang an overlay beside the images only if it is US, too.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    objects: tuple[ObjectKind, ...] = (ObjectKind.REPORT, ObjectKind.OVERLAY, ObjectKind.SUMMARY)
    report_classes: tuple[ReportClass, ...] = Field(default=tuple(ReportClass), min_length=1)
    character_set: CharacterSet = CharacterSet.SOURCE
    series_numbers: dict[ObjectKind, SeriesNumber] = {}
    series_descriptions: dict[ObjectKind, SeriesDescription] = {}
    overlay_modality: Literal["OT", "US"] = "OT"

    @model_validator(mode="after")
    def _key_objects_are_there(self) -> _Destination:
        missing = {ObjectKind.REPORT, ObjectKind.OVERLAY} - set(self.objects)
        if ObjectKind.KEY_OBJECTS in self.objects and missing:
            raise ValueError("ko refers to sr and sc: list them in objects too")
        if len(set(self.objects)) != len(self.objects):
            raise ValueError("objects names one twice")
        return self


class ClientTls(Section):
    """TLS on a connection that we open.

    ca_file: PEM of the authorities whose certificates we trust.
    certificate, key: PEM files by which the peer knows us; without them it is not told.
    check_host_name: whether the certificate must be for the host that we call.
    """

    ca_file: Path
    certificate: Path | None = None
    key: Path | None = None
    check_host_name: bool = True

    @model_validator(mode="after")
    def _key_and_certificate(self) -> ClientTls:
        if (self.key is None) != (self.certificate is None):
            raise ValueError("certificate and key belong together")
        return self

    def files(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.ca_file, self.certificate, self.key) if path)


class DimseDestination(_Destination):
    """A storage SCP.

    tls: if it is there, nothing is sent without TLS.
    storage_commitment: a parcel counts as delivered only once it has committed to it.
    commitment_timeout: seconds after which it is asked again if it has not reported.
    """

    host: str
    port: Port
    ae_title: AeTitle
    tls: ClientTls | None = None
    storage_commitment: bool = False
    commitment_timeout: Seconds = 3600

    @property
    def address(self) -> str:
        """Where it is, for the audit trail."""
        return self.host

    def secret_files(self) -> list[Path | None]:
        """Files that nobody else should be able to read."""
        return [self.tls.key] if self.tls else []

    def __str__(self) -> str:
        return f"{self.host}:{self.port}  (AE title {self.ae_title})"


def _without_login(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.username or url.password:
        raise ValueError("a login does not belong into a URL: use authentication")
    return url


PlainUrl = Annotated[AnyHttpUrl, AfterValidator(_without_login)]
"""URLs are shown, logged and audited."""


class BasicAuthentication(Section):
    """password_file: holds the password and nothing else."""

    type: Literal["basic"] = "basic"
    user: str
    password_file: Path


class OAuth2Authentication(Section):
    """The client credentials grant (RFC 6749 section 4.4).

    client_secret_file: holds the secret and nothing else.
    """

    type: Literal["oauth2"] = "oauth2"
    token_url: PlainUrl
    client_id: str
    client_secret_file: Path
    scope: str = ""


class StowDestination(_Destination):
    """An origin server of STOW-RS (PS3.18 section 10.5).

    url: root of its DICOMweb service, such as ``https://pacs.example.org/dicom-web``.
    ca_file: PEM of the authorities that we trust, in place of the public ones.
    client_certificate, client_key: PEM files by which it knows us (mutual TLS).
    """

    url: PlainUrl
    authentication: Annotated[
        BasicAuthentication | OAuth2Authentication | None, Field(discriminator="type")
    ] = None
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None

    @model_validator(mode="after")
    def _no_secret_in_the_clear(self) -> StowDestination:
        here = self.url.host in ("127.0.0.1", "localhost", "[::1]")
        if self.authentication is not None and self.url.scheme != "https" and not here:
            raise ValueError("authentication needs an https url: by http its secret would be read")
        return self

    @model_validator(mode="after")
    def _key_and_certificate(self) -> StowDestination:
        if (self.client_key is None) != (self.client_certificate is None):
            raise ValueError("client_certificate and client_key belong together")
        return self

    @property
    def address(self) -> str:
        """Where it is, for the audit trail."""
        return str(self.url)

    def secret_files(self) -> list[Path | None]:
        """Files that nobody else should be able to read."""
        match self.authentication:
            case BasicAuthentication(password_file=path):
                return [self.client_key, path]
            case OAuth2Authentication(client_secret_file=path):
                return [self.client_key, path]
        return [self.client_key]

    def __str__(self) -> str:
        return f"{self.url}  (STOW-RS)"


def _transport(value: Any) -> str:
    if isinstance(value, dict):
        return "stow-rs" if "url" in value else "dimse"
    return "stow-rs" if isinstance(value, StowDestination) else "dimse"


TRANSPORTS = frozenset({"dimse", "stow-rs"})

Destination = Annotated[
    Annotated[DimseDestination, Tag("dimse")] | Annotated[StowDestination, Tag("stow-rs")],
    Discriminator(_transport),
]
"""With a ``url`` it is reached by STOW-RS, else by DIMSE."""
