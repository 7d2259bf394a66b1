"""Files from anywhere, analysed here and now: without network, queue or journal."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydicom.filereader import read_file_meta_info

from service.analysis.analyser import Analyser, Analysis
from service.results import FILES, PICTURE_FILE
from service.sop_classes import IGNORED
from service.still_image import SUFFIXES, UnreadableImage, wrap_still_image

_DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
_PREAMBLE = 128
_UNREADABLE = frozenset({"not-dicom", "unreadable-header"})
_RESULT_SUFFIXES = {name: f".{name}" for name in FILES.values()} | {PICTURE_FILE: ".png"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is told of one file; one line of ``--json``.

    outcome: analysed, not_analysable, ignored (an object that the service accepts and does not
        analyse) or failed (it cannot be read).
    reason: code, for all but analysed.
    decision: malignant or benign.
    frame: 1-based. region: left, top, right, bottom in pixels, half-open.
    model: name and version.
    """

    file: str
    outcome: str
    reason: str | None = None
    probability_malignant: float | None = None
    probability_benign: float | None = None
    decision: str | None = None
    threshold: float | None = None
    frame: int | None = None
    region: tuple[int, int, int, int] | None = None
    model: str
    model_sha256: str


def files_in(paths: Iterable[Path]) -> Iterator[Path]:
    """The files themselves, and of each folder those that are DICOM or pictures, sorted."""
    for path in paths:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if _is_candidate(file))
        else:
            yield path


def _is_candidate(file: Path) -> bool:
    """Whether a file of a folder is meant: by its name, or by DICOM's magic word in it."""
    if not file.is_file() or file.name == "DICOMDIR" or file.name.startswith("."):
        return False
    if file.suffix.lower() in SUFFIXES | _DICOM_SUFFIXES:
        return True
    try:
        return _is_dicom(file)
    except UnreadableImage:
        return True


def analyse_file(analyser: Analyser, file: Path, out: Path | None) -> Row:
    """Analyse one file, write its results into ``out`` (overwriting nothing), tell the outcome."""
    manifest = analyser.package.manifest
    row = Row(
        file=str(file),
        outcome="failed",
        reason="unreadable",
        model=f"{manifest.name} {manifest.version}",
        model_sha256=manifest.sha256,
    )
    with tempfile.TemporaryDirectory(prefix="secondread-") as folder:
        try:
            part10 = as_part10(file, Path(folder))
        except UnreadableImage:
            return row
        if _is_ignored(part10):
            return replace(row, outcome="ignored", reason="sop-class")
        analysis = analyser.analyse(part10, revision=0, started_at=datetime.now(UTC))
    if out is not None:
        _write(analysis, file.stem, out)
    outcome = analysis.outcome
    return replace(
        row,
        outcome="failed" if outcome.reason in _UNREADABLE else outcome.state.value,
        reason=outcome.reason,
        probability_malignant=outcome.probability_malignant,
        probability_benign=outcome.probability_benign,
        decision=outcome.decision,
        threshold=outcome.threshold,
        frame=outcome.frame,
        region=outcome.region,
    )


def as_part10(file: Path, folder: Path) -> Path:
    """The file itself if it is DICOM, else the picture wrapped in ``folder``.

    Raises UnreadableImage.
    """
    if _is_dicom(file):
        return file
    wrapped = folder / "picture.dcm"
    wrap_still_image(file).save_as(wrapped, enforce_file_format=True)
    return wrapped


def _is_dicom(file: Path) -> bool:
    """Whether it has the magic word of DICOM Part 10. Raises UnreadableImage."""
    try:
        with file.open("rb") as stream:
            return stream.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError as error:
        raise UnreadableImage(f"{file} cannot be read: {error.strerror}") from error


def _is_ignored(part10: Path) -> bool:
    """Whether the service would keep the object without analysing it."""
    try:
        meta = read_file_meta_info(part10)
    except Exception:  # noqa: BLE001 the analysis says what is wrong with it
        return False
    return meta.get("MediaStorageSOPClassUID") in IGNORED


def _write(analysis: Analysis, stem: str, out: Path) -> None:
    """Write the results under a name that is free in ``out``: STEM, else STEM-2, STEM-3 …"""
    free = stem
    for number in itertools.count(2):
        if not any((out / (free + suffix)).exists() for suffix in _RESULT_SUFFIXES.values()):
            break
        free = f"{stem}-{number}"
    for name, content in analysis.files:
        (out / (free + _RESULT_SUFFIXES[name])).write_bytes(content)
