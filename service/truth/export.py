"""Judged images as a folder that ``secondread-model train`` reads.

``manifest.csv`` has the columns of ``model_export.dataset.read_manifest``. Names say nothing of
whom they name: they are numbers of a shuffle that is drawn anew each time.
"""

from __future__ import annotations

import csv
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from pydicom import dcmread

from service.analysis.decode import Decoder
from service.analysis.decode_error import DecodeError
from service.journal.truth_records import JudgedImage
from service.spool import Spool

COLUMNS = ("file", "label", "patient_id", "device", "split", "truth", "source")


class ExportError(Exception):
    """The folder cannot be written; the text says what to do."""


@dataclass(frozen=True)
class Exported:
    """left_out: by reason code, images that could not be read any more."""

    images: int
    patients: int
    left_out: dict[str, int]


def export(
    images: Sequence[JudgedImage],
    spool: Spool,
    decoder: Decoder,
    folder: Path,
    each: Callable[[], object] = lambda: None,
) -> Exported:
    """Write the scored region of the scored frame of each image, and the manifest.

    folder: whole or not at all; it must be new or empty. each: called after every image.
    Raises ExportError; OSError.
    """
    left_out: dict[str, int] = {}
    rows: list[tuple[str, ...]] = []
    order = list(images)
    secrets.SystemRandom().shuffle(order)
    patients: dict[tuple[str, str], str] = {}
    with _whole(folder) as made:
        for image in order:
            file = f"{image.diagnosis}/i{len(rows) + 1:06d}.png"
            try:
                patient = _write(image, spool.image_path(image.key), decoder, made / file)
            except DecodeError as error:
                left_out[error.code] = left_out.get(error.code, 0) + 1
            except FileNotFoundError:
                left_out["not-in-spool"] = left_out.get("not-in-spool", 0) + 1
            else:
                pseudonym = patients.setdefault(patient, f"p{len(patients) + 1:04d}")
                truth = "study" if image.of_image is None else "image"
                device = image.scanner_model or ""
                row = (file, image.diagnosis.value, pseudonym, device, "", truth)
                rows.append((*row, image.source.value))
            each()
        if not rows:
            raise ExportError("there is nothing to export: no image with pathology can be read")
        with (made / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([COLUMNS, *sorted(rows)])
    return Exported(len(rows), len(patients), left_out)


def _write(image: JudgedImage, source: Path, decoder: Decoder, target: Path) -> tuple[str, str]:
    """Write the region as PNG; whose image it is. Raises DecodeError, OSError."""
    if not source.is_file():
        raise FileNotFoundError
    # The child comes first: a file that cannot be parsed within limits is left there.
    frame = decoder.frame(source, image.frame)
    left, top, right, bottom = image.region
    target.parent.mkdir(exist_ok=True)
    Image.fromarray(frame[top:bottom, left:right]).save(target)
    tags = ["PatientID", "IssuerOfPatientID"]
    header = dcmread(source, stop_before_pixels=True, specific_tags=list(tags))
    identifier = str(header.get("PatientID") or "")
    if not identifier:
        return "study", image.study_instance_uid or image.key
    return f"patient {header.get('IssuerOfPatientID') or ''}", identifier


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder beside it, which takes its name at the end; only we may read it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportError(f"{folder} is there already: name a new or an empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.resolve().parent))
    try:
        yield made
        os.replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
