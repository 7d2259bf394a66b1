"""Random changes of a training image that a lesion's diagnosis does not depend on.

Two of them are aimed at shortcuts: synthetic calipers and captions are drawn on images of both
classes alike (measured lesions are the suspicious ones), and the frame is moved and zoomed so that
the position and share of the lesion say nothing.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
_LETTERS = np.array(list("ABCDEFGHIKLMNOPQRSTUVZ0123456789.+|"))


def augment(
    image: Grey, mask: Grey, rng: np.random.Generator, lesion_crops: float = 0.0
) -> tuple[Grey, Grey]:
    """``(H, W)`` image and 0/1 mask to a changed pair; the size may differ, the two agree.

    lesion_crops: share (0–1) of images that are cut around the lesion first.
    """
    if lesion_crops and rng.random() < lesion_crops and mask.any():
        image, mask = _lesion_crop(image, mask, rng)
    image, mask = _reframe(image, mask, rng)
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    image = np.ascontiguousarray(image)
    mask = np.ascontiguousarray(mask)
    image = _tone(image, rng)
    image = _texture(image, rng)
    if rng.random() < 0.4:
        image = _calipers(image, mask, rng)
    if rng.random() < 0.4:
        image = _caption(image, rng)
    return image, mask


def _lesion_crop(image: Grey, mask: Grey, rng: np.random.Generator) -> tuple[Grey, Grey]:
    """A window of 1.3–4 times the lesion's larger edge that holds all of it, anywhere in it.

    Scanners and presets show a lesion large or small: its size on the picture must say little.
    """
    rows, columns = np.nonzero(mask)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    edge = int(max(bottom - top, right - left) * np.exp(rng.uniform(np.log(1.3), np.log(4.0))))
    window = []
    for low, high, whole in ((top, bottom, image.shape[0]), (left, right, image.shape[1])):
        length = min(max(edge, 48), whole)
        first = rng.integers(max(0, high - length), max(min(low, whole - length), 0) + 1)
        window.append(slice(int(first), int(first) + length))
    return image[window[0], window[1]], mask[window[0], window[1]]


def _reframe(image: Grey, mask: Grey, rng: np.random.Generator) -> tuple[Grey, Grey]:
    """Zoom 0.6–1.6, move, turn by ≤ 12°, stretch ≤ 12 %; most of the lesion stays inside."""
    height, width = image.shape
    total = float(mask.sum())
    for _ in range(8):
        frame_h = max(32, round(height * rng.uniform(0.6, 1.4)))
        frame_w = max(32, round(frame_h * width / height * np.exp(rng.uniform(-0.35, 0.35))))
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-12, 12), 1.0)
        turn[:, :2] *= np.exp(rng.uniform(-0.12, 0.12, size=(2, 1)))
        centre = turn @ np.array([width / 2, height / 2, 1.0])
        slack = np.abs([width - frame_w, height - frame_h]) / 2
        turn[:, 2] += np.array([frame_w, frame_h]) / 2 - centre + rng.uniform(-slack, slack)
        border = cv2.BORDER_REFLECT_101 if rng.random() < 0.7 else cv2.BORDER_CONSTANT
        moved = cv2.warpAffine(mask, turn, (frame_w, frame_h), flags=cv2.INTER_NEAREST)
        area = float(abs(np.linalg.det(turn[:, :2])))
        if total == 0 or moved.sum() >= 0.8 * total * area:
            out = cv2.warpAffine(
                image, turn, (frame_w, frame_h), flags=cv2.INTER_LINEAR, borderMode=border
            )
            if border == cv2.BORDER_REFLECT_101:
                moved = cv2.warpAffine(
                    mask, turn, (frame_w, frame_h), flags=cv2.INTER_NEAREST, borderMode=border
                )
            return np.asarray(out, dtype=np.uint8), np.asarray(moved, dtype=np.uint8)
    return image, mask


def _tone(image: Grey, rng: np.random.Generator) -> Grey:
    """Gain and dynamic range, as a sonographer's knobs change them, and depth gain."""
    x = image.astype(np.float32) / 255
    x = np.power(x, np.exp(rng.uniform(-0.5, 0.5)))
    x = (x - 0.3) * rng.uniform(0.65, 1.4) + 0.3 + rng.uniform(-0.12, 0.12)
    if rng.random() < 0.4:
        ramp = np.linspace(rng.uniform(0.7, 1.3), rng.uniform(0.6, 1.3), x.shape[0])
        x = x * ramp[:, None].astype(np.float32)
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


def _texture(image: Grey, rng: np.random.Generator) -> Grey:
    """Resolution, smoothing, speckle and JPEG of another machine."""
    height, width = image.shape
    choice = rng.random()
    if choice < 0.25:
        factor = rng.uniform(0.4, 0.9)
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(small, (width, height)), dtype=np.uint8)
    elif choice < 0.4:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.8)), dtype=np.uint8)
    if rng.random() < 0.3:
        speckle = rng.normal(1.0, rng.uniform(0.05, 0.25), size=image.shape)
        image = np.clip(image * speckle, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 90))]
        _, coded = cv2.imencode(".jpg", image, quality)
        image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
    return image


def _calipers(image: Grey, mask: Grey, rng: np.random.Generator) -> Grey:
    """Two to four crosses, around the lesion half of the time, anywhere otherwise."""
    height, width = image.shape
    size = int(rng.integers(3, 8))
    grey = int(rng.integers(170, 256))
    rows, columns = np.nonzero(mask)
    near = rows.size > 0 and rng.random() < 0.5
    for _ in range(int(rng.integers(1, 3)) * 2):
        if near:
            pick = int(rng.integers(rows.size))
            x, y = int(columns[pick]), int(rows[pick])
        else:
            x, y = int(rng.integers(width)), int(rng.integers(height))
        cv2.line(image, (x - size, y), (x + size, y), grey, 1)
        cv2.line(image, (x, y - size), (x, y + size), grey, 1)
    return image


def _caption(image: Grey, rng: np.random.Generator) -> Grey:
    """One or two lines of letters and figures, as body marks and measurements are burned in."""
    height, width = image.shape
    for _ in range(int(rng.integers(1, 3))):
        text = "".join(rng.choice(_LETTERS, size=int(rng.integers(2, 14))))
        at = (int(rng.integers(-10, width)), int(rng.integers(8, height)))
        font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN]))
        cv2.putText(image, text, at, font, rng.uniform(0.3, 0.8), int(rng.integers(150, 256)), 1)
    return image
