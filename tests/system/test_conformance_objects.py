"""The annexes of ``docs/conformance.md`` say of our objects what they really hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files

import pytest
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_sr import codes
from dicom_sr.iod import SOP_CLASSES

from .census import attribute_rows, coded, content_rows, walk
from .created_objects import (
    CAPTURE,
    COLOR_STATE,
    GRAYSCALE_STATE,
    KEY_OBJECTS,
    REJECTION_NOTE,
    REPORT,
    SEGMENTATION,
    STUDY_REPORT,
    created_objects,
)
from .statement import column, tables

COMMON = "A-2"
ATTRIBUTES = {
    "A-3": REPORT,
    "A-4": STUDY_REPORT,
    "A-5": CAPTURE,
    "A-6": SEGMENTATION,
    "A-7": GRAYSCALE_STATE,
    "A-8": COLOR_STATE,
    "A-9": KEY_OBJECTS,
    "A-10": REJECTION_NOTE,
}
CONTENT = {"B-1": REPORT, "B-2": STUDY_REPORT, "B-3": KEY_OBJECTS, "B-4": REJECTION_NOTE}


def listed(number: str, *names: str) -> list[tuple[str, ...]]:
    return [tuple(row[name] for name in names) for row in tables()[number]]


def listed_attributes(number: str) -> list[tuple[str, ...]]:
    return listed(number, "Attribute", "Tag", "VR", "Value", "Presence", "Source")


def common_rows() -> list[tuple[str, ...]]:
    """What is the same in all kinds of objects."""
    rows = [attribute_rows(created_objects()[kind]) for kind in ATTRIBUTES.values()]
    return [row for row in rows[0] if all(row in others for others in rows)]


def test_every_kind_of_object_has_its_table() -> None:
    assert set(ATTRIBUTES.values()) == set(created_objects())


def test_attributes_of_all_objects() -> None:
    assert listed_attributes(COMMON) == common_rows()


@pytest.mark.parametrize("number", ATTRIBUTES)
def test_attributes(number: str) -> None:
    rows = attribute_rows(created_objects()[ATTRIBUTES[number]])
    common = common_rows()
    assert listed_attributes(number) == [row for row in rows if row not in common]


@pytest.mark.parametrize("number", CONTENT)
def test_content_trees(number: str) -> None:
    roots = [each.data_set for each in created_objects()[CONTENT[number]]]
    names = ("Relationship", "Value type", "Concept name", "Number", "Value")
    assert listed(number, *names) == content_rows(roots)


# Modules, by the standard's tables that highdicom ships


def _standard(name: str) -> dict[str, list[dict[str, object]]]:
    content = (files("highdicom") / "_standard" / name).read_text("utf-8")
    return dict(json.loads(content))


MODULES = _standard("iod_module_map.json")
MODULE_ATTRIBUTES = _standard("module_attribute_map.json")


def _attributes(kind: str) -> set[tuple[str, ...]]:
    return {
        tuple(keyword_for_tag(tag) for tag in path)
        for each in created_objects()[kind]
        for path, _ in walk(each.data_set)
    }


def _modules(kind: str) -> dict[tuple[str, ...], list[dict[str, object]]]:
    """The modules of the kind's IOD that have an attribute of this path."""
    sop_class = str(created_objects()[kind][0].data_set.SOPClassUID)
    found: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for module in MODULES[SOP_CLASSES[sop_class]]:
        for attribute in MODULE_ATTRIBUTES[str(module["key"])]:
            path = (*attribute["path"], attribute["keyword"])  # type: ignore[misc]
            found.setdefault(path, []).append(module)
    return found


def module_usage(kind: str) -> dict[str, str]:
    """Usage of each module that the objects of a kind have, by its name.

    That is each mandatory module, and the others of which there is an attribute that no other
    module has.
    """
    modules = _modules(kind)
    usage = {}
    for there in modules.values():
        usage.update({str(each["key"]): "M" for each in there if each["usage"] == "M"})
    for path in _attributes(kind):
        if len(path) == 1 and len(modules.get(path, ())) == 1:
            (only,) = modules[path]
            usage[str(only["key"])] = str(only["usage"])
    return usage


def test_modules() -> None:
    for kind in ATTRIBUTES.values():
        shown = {
            row["Module"].lower().replace(" ", "-"): row[kind]
            for row in tables()["A-1"]
            if row[kind]
        }
        assert shown == module_usage(kind), kind


@pytest.mark.parametrize("kind", ATTRIBUTES.values())
def test_no_attribute_is_outside_its_iod(kind: str) -> None:
    assert _attributes(kind) - set(_modules(kind)) == set()


def test_no_attribute_is_private() -> None:
    for objects in created_objects().values():
        for each in objects:
            assert not [tag for path, _ in walk(each.data_set) for tag in path if tag.is_private]


# Codes


def _codes_of_the_code() -> set[str]:
    values = [*vars(codes).values(), *codes.LATERALITY.values()]
    return {
        f'({each.value}, {each.scheme_designator}, "{each.meaning}")'
        for each in values
        if isinstance(each, Code)
    }


def _codes_in(data_set: Dataset) -> Iterator[str]:
    for element in data_set:
        if element.VR == "SQ":
            for item in element.value:
                if "CodeMeaning" in item:
                    yield coded(item)
                else:
                    yield from _codes_in(item)


def test_codes() -> None:
    names = ("Code Value", "Scheme", "Code Meaning")
    shown = [
        f'({value}, {scheme}, "{meaning}")' for value, scheme, meaning in listed("E-3", *names)
    ]
    used = {
        code
        for objects in created_objects().values()
        for each in objects
        for code in _codes_in(each.data_set)
    }
    assert len(shown) == len(set(shown))
    assert set(shown) == _codes_of_the_code() == used


def test_private_codes() -> None:
    private = {code for code in _codes_of_the_code() if f", {codes.PRIVATE_SCHEME}, " in code}
    names = ("Code Value", "Code Meaning")
    shown = {
        f'({value}, {codes.PRIVATE_SCHEME}, "{meaning}")'
        for value, meaning in listed("E-2", *names)
    }
    assert shown == private


def test_coding_schemes() -> None:
    assert set(column("E-1", "Designator")) == set(column("E-3", "Scheme"))
