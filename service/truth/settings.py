"""How results of pathology come by HL7, and what they look like at this hospital."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, IPvAnyNetwork, StringConstraints, model_validator

from service.destination import Section
from service.ingest.settings import IngestTls
from service.journal.truth_records import Source

Place = Annotated[
    str, StringConstraints(pattern=r"^([A-Z][A-Z0-9]{2}-[1-9]\d?(\.[1-9]\d?)?|OBX:[^\s|^~&]+)$")
]


class TruthSettings(Section):
    """``secondread truth listen``: HL7 v2 ORU^R01 over MLLP.

    host, port: where it listens; port 0, the default, is nowhere.
    addresses: who may connect, IP addresses or networks; without any, this machine alone.
    tls: if it is there, nobody gets in without TLS.
    study_uid: where a message has the Study Instance UID: a field, ``ZDS-1.1``, or the value of
        the OBX that has this code, ``OBX:110180``.
    codes: OBX-3.1 of the observations that tell the diagnosis.
    malignant, benign: their values, OBX-5 as a whole or its first component; upper and lower case
        are the same.
    source: how this system knows it: surgery, biopsy, cytology, follow-up or other.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    addresses: tuple[IPvAnyNetwork, ...] = ()
    tls: IngestTls | None = None
    study_uid: Place = "ZDS-1.1"
    codes: tuple[str, ...] = ("22637-3",)
    malignant: tuple[str, ...] = ("malignant",)
    benign: tuple[str, ...] = ("benign",)
    source: Source = Source.OTHER

    @model_validator(mode="after")
    def _apart(self) -> Self:
        both = {each.casefold() for each in self.malignant} & {
            each.casefold() for each in self.benign
        }
        if both:
            raise ValueError(f"{sorted(both)[0]!r} is both malignant and benign")
        return self
