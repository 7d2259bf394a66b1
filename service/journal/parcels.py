"""The names of parcels and of studies: 32 hex digits that tell nothing."""

from __future__ import annotations

import hashlib


def image_parcel(image_key: str, edition: int) -> str:
    """The folder of an image's result; that of the first edition bears the image's own key."""
    return image_key if edition == 0 else _digits(f"{image_key}|edition {edition}")


def study_key(study_instance_uid: str) -> str:
    """The study's name in queues and logs."""
    return _digits(f"study|{study_instance_uid}")


def summary_parcel(study: str, number: int) -> str:
    """study: its key. number: of the summary, 0 for the first."""
    return _digits(f"{study}|summary {number}")


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
