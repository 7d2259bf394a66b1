"""What pathology says of a case, as it crosses the journal's border."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class Diagnosis(StrEnum):
    BENIGN = "benign"
    MALIGNANT = "malignant"


class Source(StrEnum):
    """How it is known. A list, and no free text, so that nobody writes a name there."""

    SURGERY = "surgery"
    BIOPSY = "biopsy"
    CYTOLOGY = "cytology"
    FOLLOW_UP = "follow-up"
    OTHER = "other"


class Subject(StrEnum):
    """What a UID names: a whole study, or one image of it."""

    STUDY = "study"
    IMAGE = "image"


class Taken(StrEnum):
    """What became of a diagnosis that came.

    OLDER: one of a later date holds, and is left as it is.
    UNKNOWN: no image of that study, or no such image, was received.
    """

    TAKEN = "taken"
    UNCHANGED = "unchanged"
    CORRECTED = "corrected"
    OLDER = "older"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Truth:
    """What pathology found.

    subject, uid: Study Instance UID of a study, or SOP Instance UID of an image.
    dated: of the pathology.
    teller: login of who imported it, or address of the system that sent it.
    """

    subject: Subject
    uid: str
    diagnosis: Diagnosis
    dated: date
    source: Source
    teller: str


@dataclass(frozen=True)
class TruthRow:
    """One diagnosis of a UID; of several the highest ``number`` holds."""

    number: int
    diagnosis: Diagnosis
    dated: date
    source: Source
    teller: str
    came_at: datetime


@dataclass(frozen=True)
class JudgedScore:
    """What a model said of an image of which pathology has said something.

    probability_malignant: 0–1. malignant: what was decided.
    of_image, of_study: the diagnosis of the image itself and of its study; one of them is there.
    """

    key: str
    study_instance_uid: str | None
    probability_malignant: float
    malignant: bool
    of_image: Diagnosis | None
    of_study: Diagnosis | None

    @property
    def diagnosis(self) -> Diagnosis:
        """The image's own; without one, that of its study."""
        found = self.of_image or self.of_study
        if found is None:
            raise ValueError("pathology has said nothing of this image")
        return found


@dataclass(frozen=True)
class JudgedImage(JudgedScore):
    """An image whose result holds, and of which pathology has said something.

    frame, region: what was scored, see ``AnalysisOutcome``.
    source: of the diagnosis that counts.
    """

    model_version: str
    scanner_model: str | None
    received_at: datetime
    frame: int
    region: tuple[int, int, int, int]
    source: Source
