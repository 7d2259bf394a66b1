"""What a cell of the clinical table means. No error quotes a cell: it may name the patient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeVar

Label = Literal["malignant", "benign"]
_Value = TypeVar("_Value", bound=str)

MISSING = frozenset(
    {"", "-", "?", "na", "n/a", "nan", "none", "null", "unknown", "not available", "not applicable"}
)
"""Cells that say nothing, in lower case."""

LABELS: Mapping[str, Label] = {
    "malignant": "malignant",
    "1": "malignant",
    "benign": "benign",
    "0": "benign",
}
"""What stands for a label, in lower case."""
_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
_BIRADS = re.compile(r"(?:bi-?rads)?[\s:_-]*(?:category\s*)?([0-6])\s*([abc])?")
_PATHOLOGY = re.compile(r"(malignant|benign)(?:\s*[:;,(].*)?")
_OLDEST, _LARGEST = 120, 300


def is_missing(text: str) -> bool:
    return text.strip().lower() in MISSING


def label(text: str) -> Label:
    """Malignant or 1, benign or 0. Raises ValueError for anything else."""
    return _one_of(text, LABELS, "label", "malignant (1) or benign (0)")


def label_of_pathology(text: str) -> Label | None:
    """The label if the pathology is definite: one of the two words, which a colon, comma,
    semicolon or bracket may follow (``malignant: invasive ductal carcinoma``).

    None for all else: "suspicious", "benign or malignant", a question mark, a bare histology.
    """
    found = _PATHOLOGY.fullmatch(text.strip().lower())
    if found is None or "?" in text:
        return None
    word = found.group(1)
    other = "benign" if word == "malignant" else "malignant"
    return None if other in text.lower() else LABELS[word]


def birads(text: str) -> str:
    """``BI-RADS 4A`` to ``4a``; ``0``–``6``. Raises ValueError if it is no category."""
    found = _BIRADS.fullmatch(text.strip().lower())
    if found is None or (found.group(2) and found.group(1) != "4"):
        raise ValueError("birads is not a category such as 3 or 4A")
    return found.group(1) + (found.group(2) or "")


def side(text: str) -> str:
    """``left`` or ``right``. Raises ValueError."""
    return _one_of(text, _SIDES, "side", "left or right")


def split(text: str) -> str:
    """``train``, ``validation`` or ``test``. Raises ValueError."""
    return _one_of(text, _SPLITS, "split", "train, validation or test")


def age(text: str) -> float:
    """Years; DICOM's ``057Y`` too. Raises ValueError."""
    return _number(text.strip().upper().removesuffix("Y"), "age", 0, _OLDEST)


def diameter(text: str) -> float:
    """mm. Raises ValueError."""
    return _number(text.strip().lower().removesuffix("mm"), "diameter_mm", 0.1, _LARGEST)


def frame(text: str) -> int:
    """1-based. Raises ValueError."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError("frame is not a number from 1 on")
    return int(text)


def _one_of(text: str, known: Mapping[str, _Value], column: str, say: str) -> _Value:
    try:
        return known[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{column} is not {say}") from None


def _number(text: str, column: str, least: float, most: float) -> float:
    try:
        number = float(text.strip().replace(",", "."))
    except ValueError:
        raise ValueError(f"{column} is not a number") from None
    if not least <= number <= most:
        raise ValueError(f"{column} is not between {least:g} and {most:g}")
    return number
