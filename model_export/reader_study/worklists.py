"""The two blinded reading sessions: folders of pictures and answer sheets, and the key to them.

    OUT/key.csv                 case → its numbers in both sessions, file, truth, score; not to be
                                given to a reader
    OUT/left_out.csv            images that could not be shown with a heatmap, and why
    OUT/session_1_without_ai/   case_001.png …, answers.csv, README.txt
    OUT/session_2_with_ai/      case_001.png, case_001_ai.png …, answers.csv, README.txt

Nothing in the sessions' folders tells the truth: numbers and order are drawn by lot, for each
session anew; pictures hold pixels only; all files bear one date.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model_export.dataset import LabelledImage
from model_export.network import CLASSES

SESSIONS = ("session_1_without_ai", "session_2_with_ai")
KEY_FILE, LEFT_OUT_FILE = "key.csv", "left_out.csv"
KEY_COLUMNS = ("case", "session_1", "session_2", "file", "truth", "ai_score")
ANSWER_COLUMNS = ("case", "birads", "date", "reader")
_READER = re.compile(r"[A-Za-z0-9_-]+")
_DATE = datetime(2000, 1, 1, tzinfo=UTC).timestamp()

_README = """Reading session {session} of 2

1. Open the pictures in the order of their numbers ({first} … {last}).{pictures}
2. Write into {sheets} for each number:
   birads  3, 4A, 4B or 4C - the study knows no other categories
   date    the day you read it, such as 2026-03-05
   reader  your code, the same in both sessions; no name
3. Do not change the column case, and save as CSV.

The numbers and their order were drawn by lot, for this session alone.
{pause}
Please do not talk about the cases, and do not look them up.
"""
_PICTURES_AI = """
   Beside each picture lies the same with _ai in its name: the model's heatmap and score.
   Research use only: the model is not verified, and it can be wrong."""
_PAUSE = (
    "The second session follows two weeks or more after this one.",
    "Two weeks or more must have passed since you read the same case in session 1.",
)


@dataclass(frozen=True)
class Shown:
    """What session 2 adds. picture: ``(H, W, 3)`` uint8 RGB. score: 0–1, None if not known."""

    picture: NDArray[np.uint8]
    score: float | None


@dataclass(frozen=True)
class _Case:
    """plain, with_heatmap: PNG files, which take less room than pixels."""

    image: LabelledImage
    plain: bytes
    with_heatmap: bytes
    score: float | None


class NotShown(Exception):
    """The image cannot be shown with a heatmap; the text says why, without the patient."""


@dataclass(frozen=True)
class WorkLists:
    """cases: in both sessions. left_out: file and reason."""

    cases: int
    left_out: tuple[tuple[str, str], ...]


def make_work_lists(
    images: Iterable[LabelledImage],
    show: Callable[[LabelledImage], Shown],
    out: Path,
    seed: int | None = None,
    readers: Sequence[str] = (),
) -> WorkLists:
    """Write ``OUT``, which must not exist or be empty.

    show: what session 2 adds to an image; raises NotShown for one that is then in neither session.
    seed: the same gives the same numbers; None draws anew. readers: codes, each with an answer
    sheet of its own; without them one sheet a session.
    Raises ValueError if the folder is in use, a code is unfit, or fewer than two cases are left.
    """
    for reader in readers:
        if not _READER.fullmatch(reader):
            raise ValueError("a reader's code is of letters, digits, _ and -")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: choose a new folder for the work lists")
    random = np.random.default_rng(seed)
    shown: list[_Case] = []
    left_out: list[tuple[str, str]] = []
    for image in images:
        try:
            added = show(image)
        except NotShown as reason:
            left_out.append((image.file, str(reason)))
            continue
        shown.append(_Case(image, _png(_pixels(image.path)), _png(added.picture), added.score))
    if len(shown) < 2:
        raise ValueError(f"{len(shown)} cases are no study: {len(left_out)} were left out")
    cases, first, second = _three_orders(random, len(shown))
    for number, (folder, order) in enumerate(zip(SESSIONS, (first, second), strict=True), 1):
        _write_session(out / folder, number, [shown[index] for index in order], readers)
    place = [np.argsort(order) + 1 for order in (cases, first, second)]
    key = [
        (
            f"C{place[0][index]:03d}",
            _name(place[1][index]),
            _name(place[2][index]),
            case.image.file,
            CLASSES[case.image.label],
            "" if case.score is None else f"{case.score:.6f}",
        )
        for index, case in enumerate(shown)
    ]
    _write_csv(out / KEY_FILE, KEY_COLUMNS, sorted(key))
    _write_csv(out / LEFT_OUT_FILE, ("file", "reason"), left_out)
    return WorkLists(len(shown), tuple(left_out))


def _write_session(
    folder: Path, session: int, cases: Sequence[_Case], readers: Sequence[str]
) -> None:
    """The pictures in their order, the answer sheets and the README, all with one date."""
    folder.mkdir(parents=True)
    for number, case in enumerate(cases, 1):
        (folder / f"{_name(number)}.png").write_bytes(case.plain)
        if session == 2:
            (folder / f"{_name(number)}_ai.png").write_bytes(case.with_heatmap)
    _write_sheets(folder, len(cases), readers)
    _write_readme(folder, session, len(cases), readers)
    for file in sorted(folder.iterdir()):
        os.utime(file, (_DATE, _DATE))


def _three_orders(random: np.random.Generator, count: int) -> list[NDArray[np.int64]]:
    """Of the cases' names and of the two sessions, whose orders differ."""
    names, first, second = (random.permutation(count) for _ in range(3))
    while (first == second).all():
        second = random.permutation(count)
    return [names, first, second]


def _name(number: int) -> str:
    return f"case_{number:03d}"


def _pixels(path: Path) -> NDArray[np.uint8]:
    """Upright, grey or RGB, and nothing else of the file."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        return np.asarray(upright.convert("L" if upright.mode in ("1", "L") else "RGB"))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _sheets(readers: Sequence[str]) -> list[tuple[str, str]]:
    """File name and reader of each answer sheet."""
    return [(f"answers_{reader}.csv", reader) for reader in readers] or [("answers.csv", "")]


def _write_sheets(folder: Path, count: int, readers: Sequence[str]) -> None:
    for name, reader in _sheets(readers):
        rows = [(_name(number), "", "", reader) for number in range(1, count + 1)]
        _write_csv(folder / name, ANSWER_COLUMNS, rows)


def _write_readme(folder: Path, session: int, count: int, readers: Sequence[str]) -> None:
    text = _README.format(
        session=session,
        first=_name(1),
        last=_name(count),
        pictures=_PICTURES_AI if session == 2 else "",
        sheets=" or ".join(name for name, _ in _sheets(readers)),
        pause=_PAUSE[session - 1],
    )
    (folder / "README.txt").write_text(text, encoding="utf-8")


def _write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
