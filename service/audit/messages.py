"""Audit messages (PS3.15 section A.5) as plain dictionaries, and the XML that they stand for.

A value that is a dictionary, or a list of them, is an element, a string is an attribute, and one
under ``text`` is the element's own text.
There is no Patient among the participants, and UIDs are pseudonyms: see docs/decisions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from ipaddress import ip_address
from typing import Any
from xml.etree import ElementTree

from service.journal.records import Reference

Message = dict[str, Any]

_TEXT = "text"
_TRANSFERRED = ("110104", "DICOM Instances Transferred")
_ACTIVITY = ("110100", "Application Activity")
_ACCESSED = ("110103", "DICOM Instances Accessed")
_ALERT = ("110113", "Security Alert")
_LOGIN = ("110114", "User Authentication")
_LOGGED_IN, _LOGGED_OUT = ("110122", "Login"), ("110123", "Logout")
_START, _STOP = ("110120", "Application Start"), ("110121", "Application Stop")
_NODE_AUTHENTICATION = ("110126", "Node Authentication")
_SOFTWARE_CONFIGURATION = ("110131", "Software Configuration")
_APPLICATION = ("110150", "Application")
_DESTINATION, _SOURCE = ("110152", "Destination Role ID"), ("110153", "Source Role ID")
_STUDY = ("110180", "Study Instance UID")

_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What is no character of XML 1.0."""
_APPLICATION_SERVER = {"csd-code": "4"}
_SYSTEM_OBJECT, _REPORT = "2", "3"
_MACHINE_NAME, _IP_ADDRESS, _URI = "1", "2", "5"


class Outcome(IntEnum):
    """Event Outcome Indicator."""

    SUCCESS = 0
    MINOR_FAILURE = 4


@dataclass(frozen=True)
class Node:
    """One side of a transfer.

    name: AE title, or name of the destination. address: IP address, host name or URL.
    """

    name: str
    address: str = ""


def pseudonym(uid: str) -> str:
    """A UID that stands for another one: ``2.25.`` and the first 128 bits of its SHA-256."""
    return f"2.25.{int(hashlib.sha256(uid.encode()).hexdigest()[:32], 16)}"


def instances_transferred(
    source: Node,
    destination: Node,
    study_instance_uid: str | None,
    references: Sequence[Reference],
    outcome: Outcome = Outcome.SUCCESS,
    description: str = "",
) -> Message:
    """Objects of one study went, or should have gone, from one side to the other, who stores them.

    study_instance_uid: None where it is not known.
    description: what went wrong, without anything of the objects.
    """
    return _message(
        _event(_TRANSFERRED, "C", outcome, description),
        [
            _participant(source, _SOURCE, is_requestor=True),
            _participant(destination, _DESTINATION, is_requestor=False),
        ],
        _study(study_instance_uid, references),
    )


def instances_updated(
    user: str, study_instance_uid: str | None, references: Sequence[Reference], description: str
) -> Message:
    """Somebody has ordered that what we say of an image be sent, replaced or withdrawn.

    user: his login on this machine, or his account on the web page. references: the images.
    description: which order it was.
    """
    person = _person(user)
    event = _event(_ACCESSED, "U", Outcome.SUCCESS, description)
    return _message(event, [person], _study(study_instance_uid, references))


def instances_viewed(
    user: str, address: str, study_instance_uid: str | None, reference: Reference
) -> Message:
    """Somebody was shown an image, or our picture of it.

    user: his account. address: of his machine. reference: the image.
    """
    event = _event(_ACCESSED, "R", Outcome.SUCCESS, "")
    return _message(event, [_person(user, address)], _study(study_instance_uid, [reference]))


def user_login(
    user: str,
    address: str,
    *,
    logged_in: bool,
    outcome: Outcome = Outcome.SUCCESS,
    description: str = "",
) -> Message:
    """Somebody has logged in, or has tried to, or has logged out.

    user: the name that he gave. address: of his machine.
    """
    kind = _LOGGED_IN if logged_in else _LOGGED_OUT
    return _message(_event(_LOGIN, "E", outcome, description, kind), [_person(user, address)])


def application_activity(process: str, *, started: bool) -> Message:
    """A process of ours has started, or ends."""
    event = _event(_ACTIVITY, "E", Outcome.SUCCESS, "", _START if started else _STOP)
    return _message(event, [_participant(Node(process), _APPLICATION, is_requestor=False)])


def security_alert(process: str, description: str, peer: Node | None = None) -> Message:
    """Somebody was not let in, or was cut.

    peer: who; without a name (his AE title, which comes late) he is known by his address.
    """
    event = _event(_ALERT, "E", Outcome.MINOR_FAILURE, description, _NODE_AUTHENTICATION)
    participants = [_participant(Node(process), _APPLICATION, is_requestor=False)]
    if peer is not None:
        named = Node(peer.name or peer.address, peer.address)
        participants.append(_participant(named, _SOURCE, is_requestor=True))
    return _message(event, participants)


def software_configured(user: str, description: str) -> Message:
    """Somebody has changed what the service says of images: another model.

    PS3.15 section A.5.3.11: an alert whose outcome is success informs.
    """
    event = _event(_ALERT, "E", Outcome.SUCCESS, description, _SOFTWARE_CONFIGURATION)
    return _message(event, [_person(user)])


def to_xml(message: Message) -> str:
    """The message in the form of the schema in PS3.15 section A.5.1.

    A control character, which XML cannot hold and a peer's AE title can, becomes U+FFFD.
    """
    return ElementTree.tostring(_element("AuditMessage", message), encoding="unicode")


def _message(event: Message, participants: list[Message], *objects: Message) -> Message:
    return {
        "EventIdentification": event,
        "ActiveParticipant": participants,
        "AuditSourceIdentification": {
            "AuditSourceID": "SecondRead",
            "AuditSourceTypeCode": _APPLICATION_SERVER,
        },
        "ParticipantObjectIdentification": list(objects),
    }


def _study(study_instance_uid: str | None, references: Sequence[Reference]) -> Message:
    classes = dict.fromkeys(sop_class_uid for sop_class_uid, _ in references)
    instances = {each: [uid for other, uid in references if other == each] for each in classes}
    return {
        "ParticipantObjectID": pseudonym(study_instance_uid or ""),
        "ParticipantObjectTypeCode": _SYSTEM_OBJECT,
        "ParticipantObjectTypeCodeRole": _REPORT,
        "ParticipantObjectIDTypeCode": _code(_STUDY),
        "ParticipantObjectName": {_TEXT: "pseudonyms in place of UIDs"},
        "ParticipantObjectDescription": {
            "SOPClass": [
                {
                    "UID": sop_class_uid,
                    "NumberOfInstances": str(len(uids)),
                    "Instance": [{"UID": pseudonym(uid)} for uid in uids],
                }
                for sop_class_uid, uids in instances.items()
            ]
        },
    }


def _event(
    code: tuple[str, str],
    action: str,
    outcome: Outcome,
    description: str,
    kind: tuple[str, str] | None = None,
) -> Message:
    event: Message = {
        "EventActionCode": action,
        "EventDateTime": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "EventOutcomeIndicator": str(int(outcome)),
        "EventID": _code(code),
    }
    if kind is not None:
        event["EventTypeCode"] = _code(kind)
    if description:
        event["EventOutcomeDescription"] = {_TEXT: description}
    return event


def _person(user: str, address: str = "") -> Message:
    person = {"UserID": user, "UserIsRequestor": "true"}
    if address:
        person["NetworkAccessPointID"] = address
        person["NetworkAccessPointTypeCode"] = _kind_of(address)
    return person


def _participant(node: Node, role: tuple[str, str], *, is_requestor: bool) -> Message:
    participant = {"UserID": node.name, "UserIsRequestor": "true" if is_requestor else "false"}
    if node.address:
        participant["NetworkAccessPointID"] = node.address
        participant["NetworkAccessPointTypeCode"] = _kind_of(node.address)
    return {**participant, "RoleIDCode": _code(role)}


def _kind_of(address: str) -> str:
    if "://" in address:
        return _URI
    try:
        ip_address(address.partition("%")[0])
    except ValueError:
        return _MACHINE_NAME
    return _IP_ADDRESS


def _code(code: tuple[str, str]) -> Message:
    value, meaning = code
    return {"csd-code": value, "codeSystemName": "DCM", "originalText": meaning}


def _element(name: str, message: Message) -> ElementTree.Element:
    element = ElementTree.Element(name)
    for key, value in message.items():
        if key == _TEXT:
            element.text = _NO_XML.sub("\ufffd", value)
        elif isinstance(value, str):
            element.set(key, _NO_XML.sub("\ufffd", value))
        else:
            for each in value if isinstance(value, list) else [value]:
                element.append(_element(key, each))
    return element
