"""Which images of a study show one lesion: by the examiner's annotations, or an operator's link."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_sr.lesion import FoundBy, Lesion
from dicom_sr.source import header_items, header_text
from service.journal.records import ImageRow, LesionLink
from service.spool import Spool
from service.summary.annotation import (
    Annotation,
    are_orthogonal,
    clock_in_words,
    parse_annotation,
    together,
)

_TEXTS = ("ImageComments", "SeriesDescription", "ProtocolName", "AcquisitionProtocolDescription")
_CODES = ("AnatomicRegionSequence", "ViewCodeSequence", "PrimaryAnatomicStructureSequence")
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class View:
    """An image of a study as its header tells where it was taken.

    key, sop_instance_uid: of the image. tracking_uid: of the lesion, where the scanner gives one.
    annotation: what header and annotations say together.
    """

    key: str
    sop_instance_uid: str
    tracking_uid: str | None
    annotation: Annotation


def read_view(key: str, header: Dataset) -> View:
    """From attributes alone; what is burned into the pixels is not read."""
    return View(
        key,
        header_text(header, "SOPInstanceUID"),
        header_text(header, "TrackingUID") or None,
        together([_side(header), *(parse_annotation(text) for text in _texts(header))]),
    )


def lesions_in(rows: Iterable[ImageRow], links: Sequence[LesionLink], spool: Spool) -> list[Lesion]:
    """The lesions of a study's images that have a result: only their headers were tried before,
    within limits, in a process of its own. Raises OSError if the spool lacks one."""
    views = [
        read_view(row.key, dcmread(spool.image_path(row.key), stop_before_pixels=True))
        for row in rows
        if row.outcome is not None
    ]
    return lesions_of(views, links)


def lesions_of(views: Sequence[View], links: Sequence[LesionLink]) -> list[Lesion]:
    """The lesions of one study of which there are two views or more.

    An operator's link comes first. Of the other images those are one lesion that have the same
    tracking UID, or that lie at the same place on the same side, in planes at right angles to one
    another. All other images belong to no lesion: nothing is guessed.
    The order is that of the lesions' identifiers, whatever the order of the arguments.
    """
    by_key = {view.key: view for view in views}
    found = list(_linked(by_key, links))
    linked = {key for link in links for key in link.keys}
    rest = [view for view in views if view.key not in linked]
    found += _tracked(rest)
    found += _annotated([view for view in rest if view.tracking_uid is None])
    return sorted(found, key=lambda lesion: lesion.identifier)


def _linked(by_key: dict[str, View], links: Iterable[LesionLink]) -> Iterator[Lesion]:
    for link in links:
        views = [by_key[key] for key in link.keys if key in by_key]
        if len(views) > 1:
            sides = {view.annotation.side for view in views} - {None}
            side = _only({*sides, *([link.side] if link.side else [])})
            identifier = f"link {link.lesion}"
            name = f"linked by the operator, {link.lesion[:8]}"
            yield _lesion(identifier, name, side, FoundBy.OPERATOR, views)


def _tracked(views: Iterable[View]) -> Iterator[Lesion]:
    by_uid: dict[str, list[View]] = defaultdict(list)
    for view in views:
        if view.tracking_uid is not None:
            by_uid[view.tracking_uid].append(view)
    for uid, these in by_uid.items():
        sides = {view.annotation.side for view in these} - {None}
        if len(these) > 1 and len(sides) < 2:
            name = "tracked by the scanner"
            yield _lesion(f"tracked {uid}", name, _only(sides), FoundBy.HEADER, these)


def _annotated(views: Iterable[View]) -> Iterator[Lesion]:
    by_place: dict[tuple[str, int], list[View]] = defaultdict(list)
    for view in views:
        said = view.annotation
        if said.contradictory or said.elsewhere or said.orientation is None:
            continue
        if said.side is not None and said.clock is not None:
            by_place[said.side, said.clock].append(view)
    for (side, clock), at_place in by_place.items():
        for distance, number, these in _apart(at_place):
            if are_orthogonal(o for v in these if (o := v.annotation.orientation) is not None):
                name = clock_in_words(clock)
                name += "" if distance is None else f", {distance / 10:g} cm from the nipple"
                name += "" if number is None else f", number {number}"
                identifier = f"place {side} {clock} {distance} {number}"
                yield _lesion(identifier, name, side, FoundBy.HEADER, these)


def _apart(views: Iterable[View]) -> Iterator[tuple[int | None, str | None, list[View]]]:
    """By distance from the nipple and number. An image that does not say one of them belongs to the
    others only where these all say the same."""
    these = list(views)
    distances = {view.annotation.nipple_mm for view in these} - {None}
    numbers = {view.annotation.number for view in these} - {None}
    groups: dict[tuple[int | None, str | None], list[View]] = defaultdict(list)
    for view in these:
        said = view.annotation
        distance = _only(distances) if said.nipple_mm is None else said.nipple_mm
        number = _only(numbers) if said.number is None else said.number
        unsure = (distance is None and distances) or (number is None and numbers)
        if not unsure:
            groups[distance, number].append(view)
    for (distance, number), group in groups.items():
        yield distance, number, group


def _lesion(
    identifier: str, name: str, side: str | None, found_by: FoundBy, views: Iterable[View]
) -> Lesion:
    return Lesion(
        identifier, name, side, found_by, tuple(sorted(view.sop_instance_uid for view in views))
    )


def _side(header: Dataset) -> Annotation:
    """As the results tell it; both sides are none."""
    for keyword in ("ImageLaterality", "Laterality"):
        value = header_text(header, keyword)
        if value in ("L", "R", "B"):
            return Annotation(side=value, contradictory=value == "B")
    return Annotation()


def _texts(header: Dataset) -> Iterator[str]:
    for keyword in _TEXTS:
        yield header_text(header, keyword)
    for keyword in _CODES:
        for item in header_items(header, keyword):
            yield header_text(item, "CodeMeaning")
    for item in header_items(header, "AcquisitionContextSequence"):
        yield header_text(item, "TextValue")
        for code in header_items(item, "ConceptCodeSequence"):
            yield header_text(code, "CodeMeaning")


def _only(values: set[_Value]) -> _Value | None:
    return next(iter(values)) if len(values) == 1 else None
