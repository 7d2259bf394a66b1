"""The flow of images, lesions and patients into the study: who is left out where, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from model_export.preparation.inclusion import Assessed
from model_export.tables import Table


@dataclass(frozen=True)
class Stage:
    """What is asked of an image at one point. reasons: code to text."""

    title: str
    reasons: Mapping[str, str]


NOT_ANALYSABLE = "The service would not analyse the picture"
STAGES = (
    Stage(
        "Not in the clinical table",
        {
            "no-clinical-row": "no row of the clinical table",
            "several-clinical-rows": "more than one row of the clinical table",
        },
    ),
    Stage(
        "BI-RADS category",
        {
            "no-birads": "no BI-RADS category",
            "birads-not-included": "BI-RADS category outside of the study",
        },
    ),
    Stage("Pathology", {"no-definite-pathology": "no definite pathology"}),
    Stage(NOT_ANALYSABLE, {}),
    Stage(
        "Outline",
        {
            "unreadable-outline": "the annotation cannot be read",
            "outline-of-another-size": "the annotation is of an image of another size",
            "outline-of-other-label": "no outline has the label of the clinical table",
            "outline-outside-picture": "the outline lies outside of the analysed picture",
            "two-pictures-no-outline": "two pictures, and no outline says which holds the lesion",
        },
    ),
    Stage(
        "The same picture twice",
        {
            "picture-of-two-patients": "the same pixels under two patients",
            "duplicate-picture": "the same pixels in another file of the patient",
        },
    ),
    Stage(
        "Another lesion of the patient",
        {"other-lesion": "another lesion has a higher category, or comes first at equal category"},
    ),
)
"""In the order in which they are asked. A code that is in none of them is the service's own."""

_OWN = {code: text for stage in STAGES for code, text in stage.reasons.items()}


@dataclass(frozen=True)
class Count:
    images: int
    lesions: int
    patients: int

    def __sub__(self, other: Count) -> Count:
        return Count(
            self.images - other.images,
            self.lesions - other.lesions,
            self.patients - other.patients,
        )


@dataclass(frozen=True)
class Exclusion:
    """One reason. excluded: whom it took; a lesion or a patient goes with its last image.
    remaining: who is left after it."""

    stage: str
    reason: str
    text: str
    excluded: Count
    remaining: Count


@dataclass(frozen=True)
class Flow:
    """found: all files, with the lesions and patients that the clinical table knows of them.
    parts: of the split, by name."""

    found: Count
    exclusions: tuple[Exclusion, ...]
    included: Count
    parts: Mapping[str, Count]

    def table(self, notes: Sequence[str] = ()) -> Table:
        """Each exclusion, what is left, and how that is split."""
        rows = [_cells("found", "", None, self.found)]
        rows += [
            _cells(f"excluded: {step.text}", step.reason, step.excluded, step.remaining)
            for step in self.exclusions
        ]
        rows.append(_cells("included", "", None, self.included))
        rows += [_cells(f"of these {name}", "", None, part) for name, part in self.parts.items()]
        return Table("Flow of the images into the study", _HEAD, tuple(rows), notes=tuple(notes))


_HEAD = (
    *("step", "reason", "excluded images", "excluded lesions", "excluded patients"),
    *("images", "lesions", "patients"),
)


def count(images: Iterable[Assessed]) -> Count:
    images = list(images)
    rows = [image.row for image in images if image.row is not None]
    return Count(
        len(images), len({row.lesion_key for row in rows}), len({row.patient for row in rows})
    )


def flow(assessed: Sequence[Assessed], part_of: Mapping[str, str]) -> Flow:
    """Count each reason, one after another in the order of ``STAGES``.

    part_of: part of the split by patient, for all patients of the study.
    """
    left = list(assessed)
    found = before = count(left)
    exclusions = []
    for stage in STAGES:
        for reason, text in _reasons(stage, assessed):
            left = [image for image in left if image.reason != reason]
            after = count(left)
            if after != before:
                exclusions.append(Exclusion(stage.title, reason, text, before - after, after))
            before = after
    parts = {
        name: count(image for image in left if image.row and part_of[image.row.patient] == name)
        for name in ("train", "validation", "test")
    }
    return Flow(found, tuple(exclusions), before, parts)


def _reasons(stage: Stage, assessed: Sequence[Assessed]) -> Iterable[tuple[str, str]]:
    if stage.title != NOT_ANALYSABLE:
        return stage.reasons.items()
    codes = {image.reason for image in assessed if image.reason is not None} - _OWN.keys()
    return [(code, f"not analysable, {code.replace('-', ' ')}") for code in sorted(codes)]


def _cells(step: str, reason: str, excluded: Count | None, left: Count) -> tuple[str, ...]:
    out = ("", "", "") if excluded is None else _numbers(excluded)
    return (step, reason, *out, *_numbers(left))


def _numbers(of: Count) -> tuple[str, str, str]:
    return str(of.images), str(of.lesions), str(of.patients)
