"""LabelMe's annotations: read, written, cropped, rasterised."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_sr.finding import Box
from model_export.preparation.labelme import (
    Annotation,
    Shape,
    UnreadableAnnotation,
    lesions_within,
    rasterise,
    read_annotation,
    write_annotation,
)

# As LabelMe 5 writes it; the shapes are of every kind that matters here.
CONTENT: dict[str, Any] = {
    "version": "5.4.1",
    "flags": {"good quality": True, "calipers": False},
    "shapes": [
        {
            "label": "malignant",
            "points": [[20.0, 10.0], [60.5, 10.0], [60.5, 40.25], [20.0, 40.25]],
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        },
        {
            "label": "0",
            "points": [[70.0, 50.0], [80.0, 50.0], [75.0, 58.0]],
            "group_id": 3,
            "description": "seen by Dr X",
            "shape_type": "polygon",
            "flags": {"sure": True},
            "mask": None,
        },
        {
            "label": "rib",
            "points": [[0.0, 0.0], [9.0, 9.0]],
            "group_id": None,
            "description": "",
            "shape_type": "rectangle",
            "flags": {},
            "mask": None,
        },
    ],
    "imagePath": "image.png",
    "imageData": None,
    "imageHeight": 60,
    "imageWidth": 100,
}


@pytest.fixture
def annotation(tmp_path: Path) -> Annotation:
    path = tmp_path / "image.json"
    path.write_text(json.dumps(CONTENT | {"imageData": "aGVsbG8="}))
    return read_annotation(path)


def test_what_is_read_is_written_without_the_embedded_image(
    annotation: Annotation, tmp_path: Path
) -> None:
    write_annotation(annotation, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == CONTENT
    assert read_annotation(tmp_path / "again.json") == annotation


def test_labels_are_words_or_digits(annotation: Annotation) -> None:
    assert [shape.lesion for shape in annotation.shapes] == ["malignant", "benign", None]
    polygon = annotation.shapes[0]
    assert replace(polygon, label=" 1 ").lesion == "malignant"
    assert replace(polygon, label="Benign").lesion == "benign"
    assert replace(polygon, label="10").lesion is None
    assert replace(polygon, shape_type="rectangle").lesion is None
    assert replace(polygon, points=polygon.points[:2]).lesion is None


def test_the_crop_shifts_polygons_and_drops_free_text(annotation: Annotation) -> None:
    cropped = lesions_within(annotation, Box(15, 5, 90, 55))
    assert (cropped.width, cropped.height, cropped.image_path) == (75, 50, "")
    assert cropped.flags == CONTENT["flags"]
    first, second = cropped.shapes
    assert first.points == ((5, 5), (45.5, 5), (45.5, 35.25), (5, 35.25))
    assert (second.label, second.group_id, second.flags) == ("benign", 3, {"sure": True})
    assert second.description == ""


def test_the_mask_of_the_crop_is_the_crop_of_the_mask(annotation: Annotation) -> None:
    box = Box(30, 20, 72, 52)  # cuts through both lesions
    for label in ("malignant", "benign"):
        whole = rasterise(annotation, label)
        assert whole.shape == (60, 100)
        expected = whole[box.top : box.bottom, box.left : box.right]
        assert expected.any()
        assert np.array_equal(rasterise(lesions_within(annotation, box), label), expected)


def test_the_mask_covers_the_polygon() -> None:
    square = Shape("1", ((2.0, 3.0), (6.0, 3.0), (6.0, 5.0), (2.0, 5.0)))
    mask = rasterise(Annotation("a", 8, 10, (square,)), "malignant")
    expected = np.zeros((8, 10), dtype=np.uint8)
    expected[3:6, 2:7] = 255
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        json.dumps({key: value for key, value in CONTENT.items() if key != "imageHeight"}),
        json.dumps(CONTENT | {"shapes": [{"label": "1", "points": [[1]]}]}),
        json.dumps(CONTENT | {"shapes": [{"label": "1", "points": [[float("nan"), 1.0]] * 3}]}),
        json.dumps(CONTENT | {"flags": ["x"]}),
        "\xff",
    ],
)
def test_what_is_no_annotation_is_said(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UnreadableAnnotation):
        read_annotation(path)
