"""The picture for the reader: the frame with its Grad-CAM, and what the model says below it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from cmap import Colormap
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicom_sr.finding import Box, Decision, Finding, ModelIdentity
from dicom_sr.templates import percentages

OPACITY = 0.55
"""Opacity of the heatmap where the activation is at its maximum; 0 where there is none."""

OUTLINE = (92, 200, 255)
NOTICE = "AI - unverified - research use only"
UNLIKE_TRAINING = "Unlike the images the model was trained on: the score means little"

# Inferno is perceptually even; its darkest quarter is left out, as it would only darken tissue.
_COLOURS = (255 * Colormap("inferno")(np.linspace(0.25, 1, 256))[:, :3]).astype(np.float32)
_BACKGROUND = (18, 20, 24)
_TEXT = (236, 238, 242)
_FAINT = (160, 166, 176)
_WARNING = (255, 214, 64)
_COLOUR_BAR_LINES = 4
_BAND = 32
_HEADLINE = {Decision.MALIGNANT: (255, 180, 84), Decision.BENIGN: (140, 214, 188)}


def draw_overlay(
    frame: NDArray[np.uint8], finding: Finding, model: ModelIdentity
) -> NDArray[np.uint8]:
    """Blend the CAM over the frame, outline the analysed box, and put a caption strip below.

    frame: ``(H, W, 3)`` uint8 RGB, the frame ``finding.frame`` at full size.
    Returns ``(H2, W, 3)`` uint8 RGB: the first H rows are the frame, unchanged wherever the
    activation is 0 (but for the outline of the box); the rows below hold the strip.
    """
    picture = np.concatenate([frame, _strip(frame.shape[1], finding, model)])
    image, box = picture[: frame.shape[0]], finding.region
    _blend(image[box.top : box.bottom, box.left : box.right], finding.cam)
    _outline(image, box)
    return picture


def blend_activation(
    tissue: NDArray[np.uint8], activation: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Colour ``(H, W, 3)`` uint8 RGB by ``(H, W)`` activation, 0–1; it stays as it is at 0."""
    blended = tissue.copy()
    _blend(blended, activation)
    return blended


def _blend(picture: NDArray[np.uint8], activation: NDArray[np.float32]) -> None:
    """``blend_activation`` in place.

    In bands of rows and channel by channel: what numpy makes on the way is small and contiguous,
    which halves the time of a large image.
    """
    active = np.flatnonzero((activation > 0).any(axis=1))
    if not active.size:
        return
    channels = _COLOURS.T.copy()
    for top in range(active[0], active[-1] + 1, _BAND):
        band = slice(top, min(top + _BAND, active[-1] + 1))
        opacity = np.clip(activation[band], 0, 1)
        shade = _shade(opacity)
        opacity *= np.float32(OPACITY)
        for channel, colours in enumerate(channels):
            before = picture[band, :, channel].astype(np.float32)
            mixed = colours.take(shade, mode="clip")
            mixed -= before
            mixed *= opacity
            mixed += before
            picture[band, :, channel] = np.rint(mixed, out=mixed)


def activation_colours(activation: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(…)`` activation, 0–1, to ``(…, 3)`` RGB on the scale 0–255."""
    return _COLOURS[_shade(activation)]


def _shade(activation: NDArray[np.float32]) -> NDArray[np.intp]:
    """Index into the colours."""
    return np.rint(255 * activation).astype(np.intp)


def _outline(picture: NDArray[np.uint8], box: Box) -> None:
    """Draw the box's outline in place: just outside it where there is room, else inside."""
    height, width = picture.shape[:2]
    line = max(1, round(min(height, width) / 400))
    left, right = _inner_span(box.left, box.right, width, line)
    top, bottom = _inner_span(box.top, box.bottom, height, line)
    rows, columns = slice(top - line, bottom + line), slice(left - line, right + line)
    picture[top - line : top, columns] = OUTLINE
    picture[bottom : bottom + line, columns] = OUTLINE
    picture[rows, left - line : left] = OUTLINE
    picture[rows, right : right + line] = OUTLINE


def _inner_span(first: int, end: int, size: int, line: int) -> tuple[int, int]:
    """What the outline leaves free along one axis."""
    return max(first, line), min(end, size - line)


@dataclass(frozen=True)
class _Line:
    """One line of the caption, already short enough."""

    text: str
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    colour: tuple[int, int, int]
    height: int


def _strip(width: int, finding: Finding, model: ModelIdentity) -> NDArray[np.uint8]:
    """The caption, ``(h, width, 3)`` uint8 RGB; the colour bar stands right of it, or below."""
    size = int(np.clip(round(width / 46), 12, 30))
    margin = size
    beside = width >= 40 * size
    inside = max(width - 2 * margin, size)
    bar_width = 14 * size if beside else min(inside, 22 * size)
    text_width = inside - (bar_width + 2 * margin if beside else 0)
    lines = _caption(finding, model, size, text_width)
    text_height = sum(line.height for line in lines)
    has_bar = bool(finding.cam.any())
    bar_height = _COLOUR_BAR_LINES * size if has_bar else 0
    height = 2 * margin + (
        max(text_height, bar_height) if beside else text_height + bar_height + margin * has_bar
    )
    canvas = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    y = margin
    for line in lines:
        draw.text((margin, y), line.text, font=line.font, fill=line.colour)
        y += line.height
    if has_bar:
        corner = (width - margin - bar_width, margin) if beside else (margin, y + margin)
        _colour_bar(canvas, f"Grad-CAM for {finding.decision}", corner, bar_width, size)
    return np.asarray(canvas)


def _caption(finding: Finding, model: ModelIdentity, size: int, width: int) -> list[_Line]:
    malignant, _, threshold = percentages(finding)
    headline = f"{finding.decision.capitalize()}: malignancy score {malignant:.1f} %"
    scored = f"Threshold {threshold:.1f} %"
    if finding.frames_scored > 1 or finding.frame > 1:
        scored += f", frame {finding.frame} ({finding.frames_scored} scored)"
    no_heatmap = f"No heatmap: no area raised the {finding.decision} score"
    parts = [
        (headline, round(1.4 * size), _HEADLINE[finding.decision]),
        (scored, size, _TEXT),
        *([(UNLIKE_TRAINING, size, _WARNING)] if finding.unlike_training else []),
        *([] if finding.cam.any() else [(no_heatmap, size, _TEXT)]),
        (f"{model.name} {model.version}", size, _FAINT),
        (NOTICE, size, _TEXT),
    ]
    lines = []
    for text, font_size, colour in parts:
        font = _font(font_size)
        height = round(1.35 * font_size)
        lines += [_Line(part, font, colour, height) for part in _wrap(text, font, width)]
    return lines


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which it would read anew for each text."""
    return ImageFont.load_default(size)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break a text into lines of at most ``width`` pixels; a word that is longer is broken too."""
    if font.getlength(text) <= width:
        return [text]
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if lines[-1] and font.getlength(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines


def _colour_bar(
    canvas: Image.Image, title: str, corner: tuple[int, int], width: int, size: int
) -> None:
    """Title, bar and scale, ``_COLOUR_BAR_LINES`` × ``size`` pixels high."""
    x, y = corner
    font = _font(size)
    draw = ImageDraw.Draw(canvas)
    draw.text((x, y), title, font=font, fill=_FAINT)
    ramp = _COLOURS[np.linspace(0, 255, width).round().astype(np.intp)]
    bar = np.broadcast_to(np.round(ramp).astype(np.uint8), (size, width, 3))
    bar_top = y + round(1.5 * size)
    canvas.paste(Image.fromarray(np.ascontiguousarray(bar)), (x, bar_top))
    draw.rectangle((x, bar_top, x + width - 1, bar_top + size - 1), outline=_FAINT)
    scale_top = bar_top + round(1.2 * size)
    draw.text((x, scale_top), "0", font=font, fill=_FAINT)
    draw.text((x + width, scale_top), "maximum", font=font, fill=_FAINT, anchor="ra")
