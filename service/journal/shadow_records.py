"""What a shadow says of an image, as it crosses the journal's border."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.journal.truth_records import Diagnosis


class ShadowState(StrEnum):
    """What became of an image at the shadow.

    BEGUN: under way, or its worker died meanwhile; it is not tried again.
    FAILED: the shadow broke off.
    """

    BEGUN = "begun"
    SCORED = "scored"
    NOT_ANALYSABLE = "not_analysable"
    FAILED = "failed"


@dataclass(frozen=True)
class ScoringModel:
    """Which model scored. sha256: of its ``model.onnx``."""

    sha256: str
    name: str
    version: str


@dataclass(frozen=True)
class Said:
    """What one of the two models said of an image.

    reason: why there is no score; code of the screen, or what broke off.
    probabilities (0–1), threshold, decision: only where there is one.
    unlike_training: its gate flagged the image.
    """

    state: ShadowState
    reason: str | None = None
    probability_malignant: float | None = None
    probability_benign: float | None = None
    threshold: float | None = None
    decision: str | None = None
    unlike_training: bool = False


@dataclass(frozen=True)
class Pair:
    """An image that a model has given a result, and a shadow has looked at.

    active_model, active: whose result it was, and what it said.
    of_image, of_study: what pathology said of the image itself and of its study.
    """

    key: str
    study_instance_uid: str | None
    scanner_model: str | None
    received_at: datetime
    active_model: ScoringModel
    active: Said
    shadow_model: ScoringModel
    shadow: Said
    of_image: Diagnosis | None
    of_study: Diagnosis | None
