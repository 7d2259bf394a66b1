"""What an annotation says of where in the breast an image was taken, and how.

Annotations are typed by people and by presets, in many forms: ``L 10 o'clock 3 cm FN``,
``RT BREAST 2:00 ARAD``, ``左乳10点 横切``. What is not understood, or said in two ways at once, is
left unsaid: an image without a position belongs to no lesion.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar


class Orientation(StrEnum):
    """Of the scan plane; see ``are_orthogonal``."""

    RADIAL = "radial"
    ANTIRADIAL = "antiradial"
    TRANSVERSE = "transverse"
    LONGITUDINAL = "longitudinal"


_PLANES = (
    {Orientation.RADIAL, Orientation.ANTIRADIAL},
    {Orientation.TRANSVERSE, Orientation.LONGITUDINAL},
)


def are_orthogonal(orientations: Iterable[Orientation]) -> bool:
    """Whether two of them are at right angles to one another."""
    there = set(orientations)
    return any(plane <= there for plane in _PLANES)


@dataclass(frozen=True)
class Annotation:
    """Each field is None where nothing is said of it.

    side: ``L`` or ``R``. clock: half hours on the clock face, 2 (one o'clock) – 25 (half past
    twelve). nipple_mm: distance from the nipple. number: of the lesion, as the examiner counts.
    elsewhere: it is about no place in the breast, such as the axilla.
    contradictory: something is said in two ways.
    """

    side: str | None = None
    clock: int | None = None
    nipple_mm: int | None = None
    number: str | None = None
    orientation: Orientation | None = None
    elsewhere: bool = False
    contradictory: bool = False


_HOUR = r"(?P<hour>1[0-2]|0?[1-9])"
_CLOCK = re.compile(
    rf"(?<![\d.:]){_HOUR}(?::?(?P<minutes>00|30))?\s*"
    r"(?:O\s?['’`´]?\s?CLOCK\b|OC\b|UHR\b|(?:点|點)(?:钟|鐘)?(?P<half>半)?)"
)
_COLON = re.compile(rf"(?<![\d.:T/-]){_HOUR}:(?P<minutes>00|30)(?![\d:.]|\s*(?:AM|PM|HRS?)\b)")
_RANGE = re.compile(
    r"\d(?::\d\d)?\s*(?:-|–|~|/|TO|BIS|至|到)\s*\d{1,2}(?::\d\d|\s*(?:O\s?['’`´]?\s?C|UHR|点|點))"
)
_TIME_OR_DATE = re.compile(
    r"\d:\d\d:\d\d|\d{4}[-/.年]\d{1,2}[-/.月]\d|\d[-/.]\d{1,2}[-/.]\d{2,4}|\bAT "
)
_SIDES = {
    "L": re.compile(r"\b(?:LEFT|LT)\b|左|\bL(?=\s*(?:BREAST|BRST|BR)\b)"),
    "R": re.compile(r"\b(?:RIGHT|RT)\b|右|\bR(?=\s*(?:BREAST|BRST|BR)\b)"),
}
_LETTER_BEFORE = re.compile(r"(?<![A-Z])([LR])[\s,:-]{0,8}$")
_NIPPLE = re.compile(
    r"(?<![\d.])(?P<value>\d{1,2}(?:\.\d)?)\s*(?P<unit>CM|MM)\s*"
    r"(?:C?FN\b|FTN\b|FROM\s+(?:THE\s+)?NIPPLE\b)"
    r"|\b(?:C?FN|FTN)\s*:?\s*(?P<value2>\d{1,2}(?:\.\d)?)\s*(?P<unit2>CM|MM)\b"
    r"|距(?:离)?乳头约?\s*(?P<value3>\d{1,2}(?:\.\d)?)\s*(?P<unit3>CM|MM|厘米|毫米)"
)
_NUMBER = re.compile(
    r"(?:\b(?:LESION|MASS|NODULE)\s*#?\s*|#\s*)(?P<name>\d{1,2}|[A-H])\b"
    r"|(?:结节|病灶|肿块)\s*(?P<chinese>\d{1,2})"
)
_ELSEWHERE = re.compile(r"\bAXILLA|\bLYMPH|\bLN\b|腋|淋巴")
_ORIENTATIONS = {
    Orientation.ANTIRADIAL: re.compile(r"\b(?:ANTI[\s-]?RAD(?:IAL)?|A[\s-]?RAD)\b|反放射|抗放射"),
    Orientation.RADIAL: re.compile(r"\bRAD(?:IAL)?\b|放射"),
    Orientation.TRANSVERSE: re.compile(r"\b(?:TRANSVERSE|TRANSV?|TRV|TR)\b|横"),
    Orientation.LONGITUDINAL: re.compile(r"\b(?:LONGITUDINAL|LONG?|SAG(?:ITTAL)?)\b|纵|縱"),
}

_LONGEST = 1000  # characters: a longer text is no annotation, and only its beginning is read

_Value = TypeVar("_Value")


def parse_annotation(text: str) -> Annotation:
    """What one text says. A time of day or a date is no clock position; a range is none either."""
    words = unicodedata.normalize("NFKC", text[:_LONGEST]).upper().replace("_", " ")
    sides = {side for side, form in _SIDES.items() if form.search(words)}
    in_words = list(_CLOCK.finditer(words))
    with_colon = [] if _TIME_OR_DATE.search(words) else list(_COLON.finditer(words))
    for found in (*in_words, *with_colon):
        letter = _LETTER_BEFORE.search(words[max(0, found.start() - 16) : found.start()])
        if letter:
            sides.add(letter[1])
    clocks = {_half_hours(found) for found in in_words}
    if sides:  # "10:30" alone may be a time of day
        clocks |= {_half_hours(found) for found in with_colon}
    distances = {_millimetres(found) for found in _NIPPLE.finditer(words)}
    numbers = {found["name"] or found["chinese"] for found in _NUMBER.finditer(words)}
    orientations = _orientations(words)
    ranged = bool(_RANGE.search(words))
    said = (sides, clocks, distances, numbers)
    return Annotation(
        _only(sides),
        None if ranged else _only(clocks),
        _only(distances),
        _only(numbers),
        _only(orientations),  # both in one picture: it is neither
        bool(_ELSEWHERE.search(words)),
        any(len(values) > 1 for values in said) or ranged,
    )


def together(annotations: Iterable[Annotation]) -> Annotation:
    """What several texts about one image say. What one leaves open another may say."""
    these = list(annotations)
    sides = {each.side for each in these} - {None}
    clocks = {each.clock for each in these} - {None}
    distances = {each.nipple_mm for each in these} - {None}
    numbers = {each.number for each in these} - {None}
    orientations = {each.orientation for each in these} - {None}
    said = (sides, clocks, distances, numbers)
    return Annotation(
        _only(sides),
        _only(clocks),
        _only(distances),
        _only(numbers),
        _only(orientations),
        any(each.elsewhere for each in these),
        any(each.contradictory for each in these) or any(len(values) > 1 for values in said),
    )


def clock_in_words(clock: int) -> str:
    """``10:30`` for 21 half hours."""
    return f"{clock // 2}:{'30' if clock % 2 else '00'}"


def _orientations(words: str) -> set[Orientation]:
    found = set()
    for orientation, form in _ORIENTATIONS.items():
        if form.search(words):
            found.add(orientation)
            words = form.sub(" ", words)  # "antiradial" holds "radial"
    return found


def _half_hours(found: re.Match[str]) -> int:
    half = found["minutes"] == "30" or bool(found.groupdict().get("half"))
    return 2 * int(found["hour"]) + half


def _millimetres(found: re.Match[str]) -> int:
    value = float(found["value"] or found["value2"] or found["value3"])
    unit = found["unit"] or found["unit2"] or found["unit3"]
    return round(value * (10 if unit in ("CM", "厘米") else 1))


def _only(values: set[_Value]) -> _Value | None:
    return next(iter(values)) if len(values) == 1 else None
