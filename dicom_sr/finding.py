"""What the reports are made from: plain values, no pixels of the source but the CAM."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

WITHDRAWN = "withdrawn"
"""What the codes of withdrawals begin with."""


class Decision(StrEnum):
    """The side of the operating point on which the score lies."""

    MALIGNANT = "malignant"
    BENIGN = "benign"


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the full frame: columns ``left``–``right``, rows ``top``–``bottom``.

    Half-open: ``right`` and ``bottom`` are the first column and row outside.
    """

    left: int
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        if self.left < 0 or self.top < 0 or self.right <= self.left or self.bottom <= self.top:
            raise ValueError(f"not a box: {self}")

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


@dataclass(frozen=True)
class ModelIdentity:
    """Which algorithm speaks.

    sha256: hex digest of the ``model.onnx`` file; it changes with each retraining.
    parameters: ``name=value`` texts for Algorithm Parameters (preprocessing; the threshold and
        the sha256 are added by the report itself).
    """

    name: str
    version: str
    sha256: str
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """The outcome of one analysed image.

    frame: 1-based number of the frame that was scored (1 for a single-frame image).
    frames_scored: how many frames were scored to choose it.
    region: the box that was given to the network, in pixels of the full frame.
    region_source: where the box comes from (``ultrasound region``, ``content box`` …).
    probability_malignant, probability_benign: softmax, 0–1, they sum to 1.
    threshold: the operating point, 0–1; ``probability_malignant >= threshold`` is malignant.
    cam: ``(region.height, region.width)`` float32, 0–1, Grad-CAM of the logit of ``decision``:
        where the evidence for the reported decision lies; all zero if no place raised that logit.
    remarks: short English sentences about the input (calipers, several regions, derived image …).
    unlike_training: the model's gate says that it has not learnt from images like this one; a
        remark says so too.
    """

    frame: int
    frames_scored: int
    region: Box
    region_source: str
    probability_malignant: float
    probability_benign: float
    threshold: float
    cam: NDArray[np.float32]
    remarks: tuple[str, ...] = ()
    unlike_training: bool = False

    @property
    def decision(self) -> Decision:
        """Malignant from the operating point on."""
        if self.probability_malignant >= self.threshold:
            return Decision.MALIGNANT
        return Decision.BENIGN


@dataclass(frozen=True)
class NotAnalysed:
    """Why an image was not scored, or why its score no longer holds.

    code: stable machine-readable reason, lower-case words joined by hyphens.
    text: one English sentence in ASCII (the report may be without a character set) for a reader;
        holds nothing of the patient.
    """

    code: str
    text: str

    @property
    def is_withdrawal(self) -> bool:
        """There was a result, and it was taken back."""
        return self.code.startswith(WITHDRAWN)
