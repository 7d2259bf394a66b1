"""The content tree of a report, as tests read it: items by the code of their concept name."""

from __future__ import annotations

from pydicom import Dataset


def items(node: Dataset, code: str) -> list[Dataset]:
    """The children of a content item whose concept name has the code value."""
    return [
        item for item in node.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == code
    ]


def only(node: Dataset, code: str) -> Dataset:
    found = items(node, code)
    assert len(found) == 1, f"{len(found)} items with code {code}"
    return found[0]


def groups(report: Dataset) -> list[Dataset]:
    return items(only(report, "126010"), "125007")
