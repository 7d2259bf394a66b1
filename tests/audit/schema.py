"""The audit schema of PS3.15 section A.5.1, as far as its structure goes, and a check against it.

By element: its required and optional attributes (None: any text, a set: one of these), and its
children in their order with how often they may come.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

_CODE = ({"csd-code": None, "codeSystemName": None, "originalText": None}, {"displayName": None})
_ROLES = {str(number) for number in range(1, 27)}
_CYCLES = {str(number) for number in range(1, 16)}

_SCHEMA: dict[str, tuple[dict, dict, list[tuple[str, str]]]] = {
    "AuditMessage": (
        {},
        {},
        [
            ("EventIdentification", "1"),
            ("ActiveParticipant", "+"),
            ("AuditSourceIdentification", "1"),
            ("ParticipantObjectIdentification", "*"),
        ],
    ),
    "EventIdentification": (
        {"EventDateTime": None, "EventOutcomeIndicator": {"0", "4", "8", "12"}},
        {"EventActionCode": set("CRUDE")},
        [("EventID", "1"), ("EventTypeCode", "*"), ("EventOutcomeDescription", "?")],
    ),
    "EventOutcomeDescription": ({}, {}, []),
    "ActiveParticipant": (
        {"UserID": None, "UserIsRequestor": {"true", "false"}},
        {
            "AlternativeUserID": None,
            "UserName": None,
            "NetworkAccessPointID": None,
            "NetworkAccessPointTypeCode": set("12345"),
        },
        [("RoleIDCode", "*"), ("MediaIdentifier", "?")],
    ),
    "AuditSourceIdentification": (
        {"AuditSourceID": None},
        {"AuditEnterpriseSiteID": None},
        [("AuditSourceTypeCode", "*")],
    ),
    "AuditSourceTypeCode": (
        {"csd-code": set("123456789")},
        {"codeSystemName": None, "displayName": None, "originalText": None},
        [],
    ),
    "ParticipantObjectIdentification": (
        {"ParticipantObjectID": None},
        {
            "ParticipantObjectTypeCode": set("1234"),
            "ParticipantObjectTypeCodeRole": _ROLES,
            "ParticipantObjectDataLifeCycle": _CYCLES,
            "ParticipantObjectSensitivity": None,
        },
        [
            ("ParticipantObjectIDTypeCode", "1"),
            ("ParticipantObjectName", "1"),
            ("ParticipantObjectDetail", "*"),
            ("ParticipantObjectDescription", "*"),
        ],
    ),
    "ParticipantObjectName": ({}, {}, []),
    "ParticipantObjectDescription": (
        {},
        {},
        [("MPPS", "*"), ("Accession", "*"), ("SOPClass", "*")],
    ),
    "SOPClass": ({"NumberOfInstances": None}, {"UID": None}, [("Instance", "*")]),
    "Instance": ({"UID": None}, {}, []),
    **{
        name: (*_CODE, [])
        for name in ("EventID", "EventTypeCode", "RoleIDCode", "ParticipantObjectIDTypeCode")
    },
}


def faults(element: Element) -> list[str]:
    """What is wrong with an element and all below it."""
    if element.tag not in _SCHEMA:
        return [f"{element.tag} is no element"]
    required, optional, children = _SCHEMA[element.tag]
    found = [f"{element.tag} lacks {name}" for name in required if element.get(name) is None]
    for name, value in element.items():
        allowed = {**required, **optional}
        if name not in allowed:
            found.append(f"{element.tag} may not have {name}")
        elif allowed[name] is not None and value not in allowed[name]:
            found.append(f"{name} may not be {value}")
    pattern = "".join(f"(?:{name} ){'' if number == '1' else number}" for name, number in children)
    order = "".join(f"{child.tag} " for child in element)
    if not re.fullmatch(pattern, order):
        found.append(f"{element.tag} holds {order.split()}")
    return found + [fault for child in element for fault in faults(child)]
