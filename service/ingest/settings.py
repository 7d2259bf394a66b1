"""The configuration of ingest: who may associate, over what, and how much of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, IPvAnyNetwork, field_validator, model_validator

from service.destination import AeTitle, ClientTls, Port, Seconds, Section
from service.ingest.hours import WorkingHours, working_hours

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class PeerRule(Section):
    """Who may associate, and where it is called when it has asked for storage commitment.

    ae_title: its calling AE title; ``*`` is any.
    address: from where it comes, an IP address or a network such as ``192.0.2.0/24``.
    commitment_host: empty is the address from which it asked.
    commitment_port: without it the report goes over the association on which it asked.
    commitment_tls: if it is there, the report goes over TLS.
    hours: its working hours, ``07:00-18:00`` of this machine's time; an alert counts its silence
        in them alone. Without them the alert's own hold.
    days: on which they begin.
    """

    ae_title: AeTitle = "*"
    address: IPvAnyNetwork
    commitment_host: str = ""
    commitment_port: Port | None = None
    commitment_tls: ClientTls | None = None
    hours: str = ""
    days: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri")

    @model_validator(mode="after")
    def _hours_of_somebody(self) -> PeerRule:
        if self.hours and self.ae_title == "*":
            raise ValueError("hours are those of one scanner: name its ae_title")
        _ = self.working_hours
        return self

    @property
    def working_hours(self) -> WorkingHours | None:
        """None where it has no hours of its own. Raises ValueError."""
        return working_hours(self.hours, self.days) if self.hours else None


class IngestTls(Section):
    """TLS on connections that we accept; others are then refused.

    certificate, key: PEM files of ours; they are read again when they change.
    ca_file: PEM of the authorities that sign our peers' certificates; a peer without a certificate
        of theirs is refused.
    require_client_certificate: false takes peers that show none; ca_file is then left out.
    """

    certificate: Path
    key: Path
    ca_file: Path | None = None
    require_client_certificate: bool = True

    @model_validator(mode="after")
    def _authorities(self) -> IngestTls:
        if self.require_client_certificate != (self.ca_file is not None):
            raise ValueError(
                "ca_file is needed, unless require_client_certificate is false: then it has no use"
            )
        return self

    def files(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.certificate, self.key, self.ca_file) if path)


class IngestSettings(Section):
    """The storage SCP.

    peers: who may associate; without any it is this machine alone.
    tls: if it is there, nobody gets in without TLS.
    require_called_ae_title: refuse an association that calls another AE title than ours.
    max_associations: at the same time; one more is rejected (transient, local limit).
    max_associations_per_address: of one peer, the same.
    max_associations_per_second: of one peer, over a few seconds; more are rejected (transient,
        temporary congestion).
    max_pdu_bytes: largest PDU that we offer to receive; 0 is not allowed (unbounded).
    max_object_bytes: a larger data set is refused (0xC000).
    acse_timeout, dimse_timeout, network_timeout: seconds.
    pdu_timeout, message_timeout: seconds in which one PDU, and one message, must have come whole.
    drain_seconds: how long open associations may finish after SIGTERM.
    low_water_bytes: below this free space C-STORE is answered 0xA700.
    """

    ae_title: AeTitle = "SECONDREAD"
    host: str = "127.0.0.1"
    port: Port = 11112
    peers: tuple[PeerRule, ...] = ()
    tls: IngestTls | None = None
    require_called_ae_title: bool = False
    max_associations: int = Field(default=32, ge=1)
    max_associations_per_address: int = Field(default=16, ge=1)
    max_associations_per_second: float = Field(default=50, gt=0, allow_inf_nan=False)
    max_pdu_bytes: int = Field(default=131072, ge=4096, le=1048576)
    max_object_bytes: int = Field(default=1 << 29, ge=1 << 20)
    acse_timeout: Seconds = 30
    dimse_timeout: Seconds = 60
    network_timeout: Seconds = 120
    pdu_timeout: Seconds = 30
    message_timeout: Seconds = 900
    drain_seconds: Seconds = 30
    low_water_bytes: int = Field(default=1 << 30, ge=0)

    @field_validator("peers")
    @classmethod
    def _one_week_each(cls, peers: tuple[PeerRule, ...]) -> tuple[PeerRule, ...]:
        weeks: dict[str, WorkingHours | None] = {}
        for rule in peers:
            if weeks.setdefault(rule.ae_title, rule.working_hours) != rule.working_hours:
                raise ValueError(f"the rules of {rule.ae_title} have different hours")
        return peers
