"""LabelMe's JSON: outlines of lesions, drawn beside the image.

Format: https://github.com/wkentaro/labelme (``labelme/_label_file.py``): version, flags, shapes
(label, points, shape_type …), imagePath, imageData, imageHeight, imageWidth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_sr.finding import Box
from model_export.preparation.clinical_values import LABELS, Label

VERSION = "5.5.0"
"""The format that is written where the annotation names none."""


class UnreadableAnnotation(ValueError):
    """The file is no annotation of LabelMe."""


@dataclass(frozen=True)
class Shape:
    """points: x, y in pixels of the image, from the left upper corner. flags: ticks, by name."""

    label: str
    points: tuple[tuple[float, float], ...]
    shape_type: str = "polygon"
    flags: Mapping[str, bool] = field(default_factory=dict)
    group_id: int | None = None
    description: str = ""

    @property
    def lesion(self) -> Label | None:
        """Malignant (1) or benign (0) if this is the polygon of a lesion."""
        if self.shape_type != "polygon" or len(self.points) < 3:
            return None
        return LABELS.get(self.label.strip().lower())


@dataclass(frozen=True)
class Annotation:
    """The outlines in one image of ``width`` × ``height`` pixels."""

    image_path: str
    height: int
    width: int
    shapes: tuple[Shape, ...]
    flags: Mapping[str, bool] = field(default_factory=dict)
    version: str = VERSION

    def polygons(self, label: Label) -> tuple[Shape, ...]:
        return tuple(shape for shape in self.shapes if shape.lesion == label)


def read_annotation(path: Path) -> Annotation:
    """Raises OSError and UnreadableAnnotation. The image that LabelMe may embed is left out."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Annotation(
            image_path=str(content["imagePath"]),
            height=int(content["imageHeight"]),
            width=int(content["imageWidth"]),
            shapes=tuple(_shape(shape) for shape in content["shapes"]),
            flags=_flags(content),
            version=str(content.get("version") or VERSION),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnreadableAnnotation("not an annotation of LabelMe") from error


def write_annotation(annotation: Annotation, path: Path) -> None:
    """Write it as LabelMe does, beside the image that ``image_path`` names."""
    content = {
        "version": annotation.version,
        "flags": dict(annotation.flags),
        "shapes": [
            {
                "label": shape.label,
                "points": [list(point) for point in shape.points],
                "group_id": shape.group_id,
                "description": shape.description,
                "shape_type": shape.shape_type,
                "flags": dict(shape.flags),
                "mask": None,
            }
            for shape in annotation.shapes
        ],
        "imagePath": annotation.image_path,
        "imageData": None,
        "imageHeight": annotation.height,
        "imageWidth": annotation.width,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def lesions_within(annotation: Annotation, box: Box) -> Annotation:
    """The lesions' polygons in pixels of the crop ``box``.

    Their labels become malignant or benign. All free text goes, for it may name the patient:
    other shapes, descriptions, the image's path. Flags are kept. A point outside of the crop stays
    outside of it.
    """
    return replace(
        annotation,
        image_path="",
        height=box.height,
        width=box.width,
        shapes=tuple(
            replace(
                shape,
                label=shape.lesion,
                points=tuple((x - box.left, y - box.top) for x, y in shape.points),
                description="",
            )
            for shape in annotation.shapes
            if shape.lesion is not None
        ),
    )


def rasterise(annotation: Annotation, label: Label) -> NDArray[np.uint8]:
    """``(height, width)`` uint8, 255 inside the polygons of ``label``, else 0."""
    mask = Image.new("L", (annotation.width, annotation.height))
    draw = ImageDraw.Draw(mask)
    for shape in annotation.polygons(label):
        draw.polygon(list(shape.points), fill=255)
    return np.asarray(mask)


def _shape(content: Any) -> Shape:
    group = content.get("group_id")
    points = tuple((float(x), float(y)) for x, y in content["points"])
    if not np.isfinite(points).all():
        raise ValueError("a point is nowhere")
    return Shape(
        label=str(content["label"]),
        points=points,
        shape_type=str(content.get("shape_type") or "polygon"),
        flags=_flags(content),
        group_id=None if group is None else int(group),
        description=str(content.get("description") or ""),
    )


def _flags(content: Any) -> dict[str, bool]:
    return {str(name): bool(ticked) for name, ticked in (content.get("flags") or {}).items()}
