"""BI-RADS categories as the study reads them: 3 and 4A benign, 4B and 4C malignant."""

from __future__ import annotations

import re
from enum import StrEnum

_PREFIX = re.compile(r"^(BI-?RADS|CATEGORY)?[\s:]*", re.IGNORECASE)


class Category(StrEnum):
    """The categories that the study includes (Mao et al. 2026)."""

    THREE = "3"
    FOUR_A = "4A"
    FOUR_B = "4B"
    FOUR_C = "4C"

    @property
    def grade(self) -> int:
        """0–3, rising with suspicion: the ordinal score of the reading."""
        return list(Category).index(self)

    @property
    def malignant(self) -> bool:
        """Whether the study counts it as a malignant answer."""
        return self in (Category.FOUR_B, Category.FOUR_C)


def read_category(text: str) -> Category:
    """``4b``, ``BI-RADS 4B``, ``4 b`` …; raises ValueError, with a short reason, for all else."""
    if not text.strip():
        raise ValueError("is missing")
    plain = _PREFIX.sub("", text.strip(), count=1).replace(" ", "").upper()
    try:
        return Category(plain)
    except ValueError:
        if re.fullmatch(r"[0-6][A-C]?", plain):
            raise ValueError(f"is BI-RADS {plain}, outside 3, 4A, 4B, 4C") from None
        raise ValueError("is no BI-RADS category") from None
