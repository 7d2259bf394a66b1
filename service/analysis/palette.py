"""Palette colour lookup tables (PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6, segmented: C.7.9.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def apply_palette(stored: NDArray[np.integer], dataset: Dataset) -> NDArray[np.uint8]:
    """``(H, W)`` stored values to ``(H, W, 3)`` uint8 RGB.

    Values below the first mapped one take the first entry, those above the last take the last.
    pydicom's ``apply_color_lut`` is not used: it reads big endian tables as little endian.

    Raises AttributeError, KeyError or ValueError where the tables are missing or wrong.
    """
    entries, first, bits = dataset.RedPaletteColorLookupTableDescriptor
    table = np.stack(
        [
            _channel(dataset, colour, entries or 1 << 16, bits)
            for colour in ("Red", "Green", "Blue")
        ],
        axis=1,
    )
    # A descriptor that says 16 bits over entries of 8 is common: the entries decide.
    eight = (table >> 8 if table.max() > 255 else table).astype(np.uint8)
    return np.asarray(eight[np.clip(stored.astype(np.int64) - first, 0, len(table) - 1)])


def _channel(dataset: Dataset, colour: str, entries: int, bits: int) -> NDArray[np.uint16]:
    """One channel's table, ``(entries,)``."""
    order = "<" if dataset.original_encoding[1] else ">"
    plain = dataset.get(f"{colour}PaletteColorLookupTableData")
    if plain is not None:
        wide = len(plain) >= 2 * entries
        table = np.frombuffer(plain, f"{order}u2" if wide else "u1").astype(np.uint16)
    else:
        segmented = dataset[f"Segmented{colour}PaletteColorLookupTableData"].value
        words = np.frombuffer(segmented, f"{order}u2" if bits > 8 else "u1")
        expanded: list[int] = []
        _expand(words, 0, len(words), expanded)
        table = np.asarray(expanded, dtype=np.uint16)
    if len(table) < entries:
        raise ValueError("a palette is shorter than its descriptor says")
    return table[:entries]


def _expand(
    words: NDArray[np.unsignedinteger], start: int, segments: int, table: list[int]
) -> None:
    """Append to ``table`` what up to ``segments`` segments from word ``start`` on stand for.

    Raises IndexError or ValueError for what is not a chain of segments.
    """
    position = start
    while segments > 0 and position + 1 < len(words):
        opcode, length = int(words[position]), int(words[position + 1])
        position += 2
        segments -= 1
        if opcode == _DISCRETE:
            table.extend(words[position : position + length].tolist())
            position += length
        elif opcode == _LINEAR:
            line = np.linspace(table[-1], int(words[position]), length + 1)[1:]
            table.extend(np.rint(line).astype(np.int64).tolist())
            position += 1
        elif opcode == _INDIRECT and start == 0:
            width, parts = words.dtype.itemsize, 4 // words.dtype.itemsize
            offset = sum(
                int(word) << (8 * width * place)
                for place, word in enumerate(words[position : position + parts])
            )
            _expand(words, offset // width, length, table)
            position += parts
        else:
            raise ValueError("an unknown segment in a palette")
