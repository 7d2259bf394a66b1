"""What the objects of one kind have in common, as a conformance statement tells it (PS3.2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pydicom.datadict import dictionary_description, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from .created_objects import Created

Path = tuple[BaseTag, ...]

_CONTENT = "ContentSequence"
_MADE_EACH_TIME = ("SOPInstanceUID", "SeriesInstanceUID")


@dataclass
class _Seen:
    """All that was seen of the attribute at one path."""

    present: int = 0
    with_value: int = 0
    values: set[str] = field(default_factory=set)
    copied: bool = True
    configured: bool = False
    coded: bool = False


def attribute_rows(objects: Iterable[Created]) -> list[tuple[str, ...]]:
    """Name, tag, VR, value, presence and source of each attribute, in the order of the tags.

    Items of a sequence follow it, with a ``>`` for each level; content trees are left out.
    presence: ALWAYS, VNAP (value not always present), ANAP (attribute not always present), EMPTY.
    source: FIXED (to that value), COPY (of the source image's attribute), AUTO, CONFIG (may be
    another one at a destination).
    """
    seen: dict[Path, _Seen] = defaultdict(_Seen)
    parents: dict[Path, int] = defaultdict(int)
    for each in objects:
        parents[()] += 1
        for path, element in walk(each.data_set):
            entry = seen[path]
            entry.present += 1
            _note(entry, path, element, each)
            if element.VR == "SQ":
                parents[path] += len(element.value)
    return [_row(path, entry, parents[path[:-1]]) for path, entry in sorted(seen.items())]


def walk(data_set: Dataset, above: Path = ()) -> Iterator[tuple[Path, DataElement]]:
    """Every attribute with its path, but for content trees and the inside of codes."""
    for element in data_set:
        path = (*above, element.tag)
        yield path, element
        if element.VR == "SQ" and element.keyword != _CONTENT and not _is_code(element):
            for item in element.value:
                yield from walk(item, path)


def _is_code(element: DataElement) -> bool:
    """Whether its items are codes (Code Sequence Macro, PS3.3 section 8.8)."""
    return element.VR == "SQ" and any("CodeMeaning" in item for item in element.value)


def coded(item: Dataset) -> str:
    """A code as PS3.16 writes it."""
    return f'({item.CodeValue}, {item.CodingSchemeDesignator}, "{item.CodeMeaning}")'


def _note(entry: _Seen, path: Path, element: DataElement, created: Created) -> None:
    value = _text(element)
    if value:
        entry.with_value += 1
        entry.values.add(value)
    entry.coded |= _is_code(element)
    if len(path) > 1:
        entry.copied = False
        return
    source = created.source.get(element.tag)
    entry.copied &= value == (_text(source) if source is not None else "")
    if element.keyword not in _MADE_EACH_TIME and element.VR != "SQ":
        other = created.variant.get(element.tag)
        entry.configured |= other is None or _text(other) != value


def _row(path: Path, entry: _Seen, parents: int) -> tuple[str, ...]:
    tag = path[-1]
    presence = "ALWAYS"
    if entry.present < parents:
        presence = "ANAP" if entry.with_value else "ANAP, EMPTY"
    elif not entry.with_value:
        presence = "EMPTY"
    elif entry.with_value < entry.present:
        presence = "VNAP"
    value, source = "", ""
    if entry.with_value and (dictionary_VR(tag) != "SQ" or entry.coded):
        source = "COPY" if entry.copied else "FIXED" if len(entry.values) == 1 else "AUTO"
        if source == "FIXED" or entry.coded:
            value = "; ".join(sorted(entry.values))
        source += ", CONFIG" if entry.configured else ""
    name = ">" * (len(path) - 1) + dictionary_description(tag)
    return name, f"({tag.group:04X},{tag.element:04X})", dictionary_VR(tag), value, presence, source


def _text(element: DataElement) -> str:
    value = element.value
    if value is None:
        return ""
    if _is_code(element):
        return "; ".join(coded(item) for item in value)
    if element.VR == "SQ":
        return "items" if value else ""
    if isinstance(value, MultiValue):
        return "\\".join(str(part) for part in value)
    if isinstance(value, bytes):
        return str(len(value)) + str(hash(value))
    return str(value)


@dataclass
class _Item:
    """All that was seen of the content items at one path of the tree."""

    counts: list[int] = field(default_factory=list)
    values: set[str] = field(default_factory=set)


_Key = tuple[str, str, str, str]


def content_rows(roots: Iterable[Dataset]) -> list[tuple[str, ...]]:
    """Relationship, value type, concept name, number and value of each content item of the trees.

    Items below another one follow it, with a ``>`` for each level. number: how many there are
    below one parent, such as ``1``, ``0–1``, ``1–n``; value: the codes, units, graphic type or
    class of what is referred to, where the value type has one.
    """
    seen: dict[tuple[_Key, ...], _Item] = {}
    order: list[tuple[_Key, ...]] = []
    _visit(list(roots), (), seen, order)
    return [_content_row(path, seen[path]) for path in order]


def _visit(
    parents: list[Dataset],
    above: tuple[_Key, ...],
    seen: dict[tuple[_Key, ...], _Item],
    order: list[tuple[_Key, ...]],
) -> None:
    """All items at one path at once, so that what one parent lacks is counted as none."""
    keys: dict[_Key, list[Dataset]] = {}
    for parent in parents:
        for item in parent.get(_CONTENT, ()):
            keys.setdefault(_key(item), []).append(item)
    for key in sorted(keys, key=lambda each: _position(each, parents)):
        path = (*above, key)
        order.append(path)
        entry = seen.setdefault(path, _Item())
        entry.counts = [
            sum(_key(item) == key for item in parent.get(_CONTENT, ())) for parent in parents
        ]
        entry.values = {value for item in keys[key] if (value := _content_value(item))}
        _visit(keys[key], path, seen, order)


def _key(item: Dataset) -> _Key:
    """Measurement groups are told apart by their finding."""
    name = coded(item.ConceptNameCodeSequence[0]) if "ConceptNameCodeSequence" in item else ""
    findings = [
        coded(inner.ConceptCodeSequence[0])
        for inner in item.get(_CONTENT, ())
        if inner.ValueType == "CODE" and inner.ConceptNameCodeSequence[0].CodeValue == "121071"
    ]
    return item.RelationshipType, item.ValueType, name, "".join(findings)


def _position(key: _Key, parents: list[Dataset]) -> float:
    """Where the item stands on the average among the content of its parents."""
    places = [
        place
        for parent in parents
        for place, item in enumerate(parent.get(_CONTENT, ()))
        if _key(item) == key
    ]
    return sum(places) / len(places)


def _content_value(item: Dataset) -> str:
    if item.ValueType == "CODE":
        return coded(item.ConceptCodeSequence[0])
    if item.ValueType == "NUM":
        return coded(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0])
    if item.ValueType == "SCOORD":
        return str(item.GraphicType)
    if item.ValueType == "COMPOSITE":
        return str(item.ReferencedSOPSequence[0].ReferencedSOPClassUID.name)
    if item.ValueType == "CONTAINER" and "ContentTemplateSequence" in item:
        return f"TID {item.ContentTemplateSequence[0].TemplateIdentifier}"
    return ""


def _content_row(path: tuple[_Key, ...], entry: _Item) -> tuple[str, ...]:
    relationship, value_type, name, finding = path[-1]
    fewest, most = min(entry.counts), max(entry.counts)
    number = f"{min(fewest, 1)}–n" if most > 1 else "1" if fewest == 1 else "0–1"
    if finding:
        name = f"{name} of {finding}"
    value = "; ".join(sorted(entry.values))
    return ">" * (len(path) - 1) + relationship, value_type, name, number, value
