"""Which attributes our SOP classes need: the modules' tables of DICOM PS3.3, as data.

highdicom ships the standard's tables, 22 MB of JSON: to parse them takes 0.35 s and 87 MB in each
process, and they are private to highdicom. ``iod.json`` holds what a check of our own SOP classes
needs of them (55 kB), is read once, in 7 ms and 0.4 MB, and does not change with highdicom.

``python -m dicom_sr.iod > dicom_sr/iod.json`` writes it anew from the installed highdicom; a test
tells when the two differ.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from pydicom.datadict import tag_for_keyword

CONTENT_ITEM = "content item"
"""Name of the table of an item of the SR content tree, at any depth."""

SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.7": "secondary-capture-image",
    "1.2.840.10008.5.1.4.1.1.11.1": "grayscale-softcopy-presentation-state",
    "1.2.840.10008.5.1.4.1.1.11.2": "color-softcopy-presentation-state",
    "1.2.840.10008.5.1.4.1.1.66.4": "segmentation",
    "1.2.840.10008.5.1.4.1.1.88.22": "enhanced-sr",
    "1.2.840.10008.5.1.4.1.1.88.33": "comprehensive-sr",
    "1.2.840.10008.5.1.4.1.1.88.34": "comprehensive-3d-sr",
    "1.2.840.10008.5.1.4.1.1.88.59": "key-object-selection-document",
}
"""The classes of our objects, and what highdicom calls their IODs."""

# One attribute in several modules of an IOD: the strictest type that is mandatory counts.
_STRICTEST_FIRST = ("1", "2", "1C", "2C", "3")
_CONTENT_MODULE = "sr-document-content"
# A functional group stands in one of the two, the shared one or that of each frame.
_FUNCTIONAL_GROUPS = (["SharedFunctionalGroupsSequence"], ["PerFrameFunctionalGroupsSequence"])
# A functional group stands either in the shared item or in each frame's (PS3.3 C.7.6.16).
_FUNCTIONAL_GROUPS = (
    ["SharedFunctionalGroupsSequence"],
    ["PerFrameFunctionalGroupsSequence"],
)

_Node = dict[str, tuple[str, "_Node"]]


@dataclass(frozen=True)
class AttributeTable:
    """What the items of one level of a data set must hold.

    required: tag and keyword of the attributes of type 1 and 2, which must be present.
    not_empty: tags of type 1 and 1C, which have a value wherever they are present.
    sequences: the tables of the items of the sequences, by tag.
    is_code: the items are codes (Code Sequence Macro, DICOM PS3.3 8.8).
    """

    required: tuple[tuple[int, str], ...]
    not_empty: frozenset[int]
    sequences: dict[int, AttributeTable]
    is_code: bool = False


@cache
def attribute_table(sop_class_uid: str) -> AttributeTable | None:
    """The table of a data set of our SOP classes, None if it is none of them."""
    return _tables().get(sop_class_uid)


@cache
def _tables() -> dict[str, AttributeTable]:
    stored = json.loads((files("dicom_sr") / "iod.json").read_text("utf-8"))
    tables: list[AttributeTable] = []
    for node in stored["tables"]:  # each refers to earlier ones only
        required, not_empty, sequences = [], set(), {}
        for keyword, (kind, inner) in node.items():
            tag = tag_for_keyword(keyword)
            if tag is None:
                continue
            if kind in ("1", "2"):
                required.append((tag, keyword))
            if kind in ("1", "1C"):
                not_empty.add(tag)
            if inner is not None:
                sequences[tag] = tables[inner]
        is_code = "CodeMeaning" in node
        tables.append(AttributeTable(tuple(required), frozenset(not_empty), sequences, is_code))
    named = {name: tables[index] for name, index in stored["roots"].items()}
    content_item, content_sequence = named.pop(CONTENT_ITEM), tag_for_keyword("ContentSequence")
    assert content_sequence is not None  # noqa: S101 - a keyword of the dictionary
    content_item.sequences[content_sequence] = content_item
    for uid, iod in SOP_CLASSES.items():
        if _is_document(iod):
            named[uid].sequences[content_sequence] = content_item
    return named


def _is_document(iod: str) -> bool:
    return iod.endswith(("-sr", "-document"))


def derive() -> str:
    """``iod.json`` from the tables of the installed highdicom."""
    standard = files("highdicom") / "_standard"
    modules = json.loads((standard / "iod_module_map.json").read_text("utf-8"))
    attributes = json.loads((standard / "module_attribute_map.json").read_text("utf-8"))
    roots: dict[str, _Node] = {CONTENT_ITEM: {}}
    _add_module(roots[CONTENT_ITEM], attributes[_CONTENT_MODULE], top="3")
    for uid, iod in SOP_CLASSES.items():
        roots[uid] = {}
        for module in modules[iod]:
            # The content tree's own attributes depend on each item's value type.
            top = None if module["usage"] == "M" else "1C"
            top = "3" if module["key"] == _CONTENT_MODULE else top
            _add_module(roots[uid], attributes[module["key"]], top)
    tables: dict[str, int] = {}
    indices = {name: _store(node, tables) for name, node in roots.items()}
    rows = ",\n".join(tables)
    return f'{{"roots": {json.dumps(indices)},\n"tables": [\n{rows}\n]}}\n'


def _add_module(node: _Node, attributes: list[dict[str, Any]], top: str | None) -> None:
    """Merge a module into the table of an IOD.

    top: what becomes of type 1 and 2 at the module's first level where the IOD does not always
        have the module, or its items are of many kinds; None if they hold.
    """
    for attribute in sorted(attributes, key=lambda each: len(each["path"])):
        level = node
        for keyword in attribute["path"]:
            level = level.setdefault(keyword, ("3", {}))[1]
        kind = attribute["type"] or "3"
        if attribute["path"] in _FUNCTIONAL_GROUPS:
            kind = "1C" if kind in ("1", "1C") else "3"
        elif top is not None and not attribute["path"]:
            kind = top if kind in ("1", "1C") else "3"
        elif attribute["path"] in _FUNCTIONAL_GROUPS:
            kind = "1C" if kind in ("1", "1C") else "3"
        known, inner = level.get(attribute["keyword"], ("3", {}))
        level[attribute["keyword"]] = (min(known, kind, key=_STRICTEST_FIRST.index), inner)


def _store(node: _Node, tables: dict[str, int]) -> int:
    """Number of the table; equal ones (there are hundreds of code sequences) are stored once.

    What never fails a check is left out.
    """
    stored = {}
    for keyword, (kind, inner) in sorted(node.items()):
        index = _store(inner, tables) if inner else None
        if index is not None and not _has_rules(index, tables):
            index = None
        if kind in ("1", "1C", "2") or index is not None:
            stored[keyword] = (kind, index)
    return tables.setdefault(json.dumps(stored), len(tables))


def _has_rules(index: int, tables: dict[str, int]) -> bool:
    return tables.get("{}") != index


if __name__ == "__main__":
    sys.stdout.write(derive())
