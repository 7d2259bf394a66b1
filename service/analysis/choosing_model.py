"""Which model a new study gets: the active one, or the canary."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """Digests of packages that are loaded, and who gets which.

    share: of the studies, 0–1. scanners: calling AE titles.
    """

    active: str
    canary: str | None = None
    share: float = 0.0
    scanners: frozenset[str] = frozenset()

    def for_study(self, study_instance_uid: str, calling_ae_title: str) -> str:
        """The same on every worker, whichever of the study's images comes first."""
        if self.canary is None:
            return self.active
        chosen = (
            calling_ae_title in self.scanners
            or position(self.canary, study_instance_uid) < self.share
        )
        return self.canary if chosen else self.active


def position(canary: str, study_instance_uid: str) -> float:
    """Where a study lies between 0 and 1; another canary deals the studies anew."""
    digest = hashlib.sha256(f"{canary}|{study_instance_uid}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
