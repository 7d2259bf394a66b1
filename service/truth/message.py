"""HL7 v2: a result of pathology as ``Truth``, and the answer to it (HL7 v2.5.1, 2.9 and 7.3.1).

No text of a message is repeated in a reason.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import hl7

from service.journal.truth_records import Diagnosis, Subject, Truth
from service.truth.settings import TruthSettings
from service.truth.table import BadValue, a_day, a_uid

_CHARACTER_SETS = {
    "UNICODE UTF-8": "utf-8",
    "8859/1": "latin-1",
    "GB 18030-2000": "gb18030",
    "ASCII": "latin-1",
}
"""By MSH-18 (HL7 Table 0211). In GB 18030 the second byte of a character may be a separator."""
_FINAL = ("F", "C")
"""OBX-11: final, and a correction of what was final."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_ECHO = 250


class Code(StrEnum):
    """MSA-1: accepted; error, it is no fault of its form; rejected, it is none of ours."""

    ACCEPT = "AA"
    ERROR = "AE"
    REJECT = "AR"


class NotTaken(Exception):
    """Why a message is answered otherwise than with AA; the text is ours."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


@dataclass(frozen=True)
class Head:
    """Of a message, to answer it: separators and the fields that an answer repeats."""

    separator: str = "|"
    encoding: str = "^~\\&"
    sender: tuple[str, str] = ("", "")
    receiver: tuple[str, str] = ("SECONDREAD", "")
    control_id: str = ""
    processing: str = "P"
    version: str = "2.5.1"


def decoded(block: bytes) -> str:
    """By MSH-18, else UTF-8, else Latin-1, which takes all."""
    fields = block.split(b"\r", 1)[0].split(b"|")
    named = fields[17].split(b"~")[0].decode("latin-1") if len(fields) > 17 else ""
    for name in (_CHARACTER_SETS.get(named), "utf-8"):
        try:
            return block.decode(name or "utf-8")
        except UnicodeDecodeError:
            continue
    return block.decode("latin-1")


def head_of(text: str) -> Head:
    """What can be had of it; of what is no message, a head of our own."""
    line = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
    if not line.startswith("MSH") or len(line) < 8 or line[3].isalnum():
        return Head()
    separator = line[3]
    fields = [_CONTROL.sub("", field)[:_LONGEST_ECHO] for field in line.split(separator)]
    fields += [""] * (12 - len(fields))
    return Head(
        separator=separator,
        encoding=fields[1],
        sender=(fields[2], fields[3]),
        receiver=(fields[4], fields[5]),
        control_id=fields[9],
        processing=fields[10] or "P",
        version=fields[11] or "2.5.1",
    )


def answer(head: Head, code: Code, text: str, now: datetime) -> str:
    """The acknowledgement: MSH and MSA, the reason in MSA-3."""
    component = head.encoding[:1] or "^"
    message = [
        *("MSH", head.encoding, *head.receiver, *head.sender, f"{now:%Y%m%d%H%M%S}", ""),
        *(f"ACK{component}R01{component}ACK", uuid.uuid4().hex[:20], head.processing),
        head.version,
    ]
    acknowledged = ["MSA", code.value, head.control_id, *([text] if text else [])]
    return "".join(f"{head.separator.join(each)}\r" for each in (message, acknowledged))


def read_result(text: str, settings: TruthSettings, teller: str, today: date) -> Truth:
    """The diagnosis in an ORU^R01. Malignant, if any of its final observations says so.

    Raises NotTaken.
    """
    if not _begins_as_message(text):
        raise NotTaken(Code.REJECT, "this is no HL7 v2 message")
    try:
        message = hl7.parse(text)
        kind = (_field(message, "MSH", 9, 1), _field(message, "MSH", 9, 2))
        observations = list(_segments(message, "OBX"))
    except (hl7.HL7Exception, ValueError, LookupError, TypeError, AttributeError):
        raise NotTaken(Code.REJECT, "this is no HL7 v2 message") from None
    if kind != ("ORU", "R01"):
        raise NotTaken(Code.REJECT, "only ORU^R01 is taken")
    try:
        return Truth(
            subject=Subject.STUDY,
            uid=_study(message, observations, settings),
            diagnosis=_diagnosis(observations, settings),
            dated=_dated(message, observations, today),
            source=settings.source,
            teller=teller,
        )
    except BadValue as error:
        raise NotTaken(Code.ERROR, str(error)) from None


def _begins_as_message(text: str) -> bool:
    """MSH, and five separators that can be told apart: the parser takes others, and stumbles."""
    separators = text.strip()[3:8]
    distinct = len(set(separators)) == 5 and not any(map(str.isalnum, separators))
    return text.strip().startswith("MSH") and distinct and separators.isprintable()


def _study(message: Any, observations: list[Any], settings: TruthSettings) -> str:
    place = settings.study_uid
    if place.startswith("OBX:"):
        code = place.removeprefix("OBX:")
        found = {_of(obx, 5, 1) for obx in observations if _of(obx, 3, 1) == code}
    else:
        segment, _, path = place.partition("-")
        field, _, component = path.partition(".")
        found = {_of(each, int(field), int(component or 1)) for each in _segments(message, segment)}
    found.discard("")
    if len(found) > 1:
        raise NotTaken(Code.ERROR, "it is about more than one study")
    if not found:
        raise NotTaken(Code.ERROR, f"there is no Study Instance UID at {place}")
    return a_uid(found.pop())


def _diagnosis(observations: list[Any], settings: TruthSettings) -> Diagnosis:
    told = [obx for obx in observations if _of(obx, 3, 1) in settings.codes]
    final = [obx for obx in told if _of(obx, 11, 1) in _FINAL]
    if not final:
        why = "no diagnosis is final" if told else "there is no observation with a known code"
        raise NotTaken(Code.ERROR, why)
    values = {text.casefold() for obx in final for text in (_of(obx, 5, 1), _whole(obx, 5))}
    for diagnosis, words in (
        (Diagnosis.MALIGNANT, settings.malignant),
        (Diagnosis.BENIGN, settings.benign),
    ):
        if not values.isdisjoint(word.casefold() for word in words):
            return diagnosis
    raise NotTaken(Code.ERROR, "the diagnosis is none of truth.malignant and truth.benign")


def _dated(message: Any, observations: list[Any], today: date) -> date:
    """Of the specimen (OBR-7), else of the observation (OBX-14), else of the message."""
    times = [_of(each, 7, 1) for each in _segments(message, "OBR")]
    times += [_of(each, 14, 1) for each in observations] + [_field(message, "MSH", 7, 1)]
    return a_day(next((time for time in times if time), "")[:8], today)


def _segments(message: Any, name: str) -> Iterator[Any]:
    return (segment for segment in message if str(segment[0]) == name)


def _field(message: Any, segment: str, field: int, component: int) -> str:
    return next((_of(each, field, component) for each in _segments(message, segment)), "")


def _of(segment: Any, field: int, component: int) -> str:
    """Empty where it is not there."""
    try:
        return str(segment.extract_field(1, field, 1, component)).strip()
    except (hl7.HL7Exception, LookupError, ValueError, TypeError, AttributeError):
        return ""


def _whole(segment: Any, field: int) -> str:
    return str(segment[field]).strip() if len(segment) > field else ""
