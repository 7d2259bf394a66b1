"""All steps in their order: match, include, decode, choose, split, rename, write."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_sr.finding import NotAnalysed
from model_export.preparation import writing
from model_export.preparation.clinical import ClinicalRow, read_clinical, rows_by_file
from model_export.preparation.flow import Flow, flow
from model_export.preparation.flow_diagram import draw_flow
from model_export.preparation.inclusion import (
    BIRADS,
    Assessed,
    clinical_reason,
    exclude_duplicates,
    exclude_other_lesions,
)
from model_export.preparation.labelme import Annotation, UnreadableAnnotation, read_annotation
from model_export.preparation.pseudonyms import pseudonyms
from model_export.preparation.source import Picture, crop, read_frame, sop_instance_uid
from model_export.preparation.splitting import split_patients
from model_export.preparation.table_one import patients_of, table_one
from model_export.tables import Table
from service.analysis.decode import Decoder
from service.offline import files_in
from service.sections import AnalysisSettings

Track = Callable[[Sequence[str], str], Iterable[str]]
"""Shows progress through a list of files: the list and what is done with it. Tells no name."""


@dataclass(frozen=True)
class Preparation:
    """What to prepare, and how.

    images: folder with images. clinical: CSV. out: training folder, which must not be there.
    key: where the way back to the patients is written; nowhere without it.
    birads: categories of the study. test_share: of the patients. validation_share: of the training
    patients. quality: of the JPEGs, 1–100. force: replace a training folder and a key.
    """

    images: Path
    clinical: Path
    out: Path
    key: Path | None = None
    birads: tuple[str, ...] = BIRADS
    test_share: float = 0.3
    validation_share: float = 0.2
    seed: int = 1
    quality: int = 95
    force: bool = False


@dataclass(frozen=True)
class Prepared:
    """flow: the exclusions. table_one: training against test patients."""

    flow: Table
    table_one: Table


@dataclass(frozen=True)
class _Staged:
    """A picture whose pixels already lie in a JPEG at ``path``."""

    path: Path
    height: int
    width: int
    annotation: Annotation | None
    device: str


def prepare(plan: Preparation, settings: AnalysisSettings, track: Track) -> Prepared:
    """Write the training folder ``plan.out``.

    settings: of the service; they decide what can be decoded and what counts as coloured.
    Raises OSError, and ValueError if the table, the places or the split cannot be used, or if no
    image is left. Then there is no folder.
    """
    writing.refuse_places(plan.images, plan.clinical, plan.out, plan.key, force=plan.force)
    rows = read_clinical(plan.clinical)
    with (
        writing.new_folder(plan.out) as folder,
        Decoder(settings.decode_seconds, settings.decode_megabytes) as decoder,
    ):
        matched = _matched(plan.images, rows, decoder, track)
        staging = folder / "staging"
        staging.mkdir()
        images, staged = _assess(plan, matched, decoder, settings.coloured_share, staging, track)
        images = exclude_other_lesions(exclude_duplicates(images))
        part_of = _parts(plan, images)
        study = _renamed(images, staged, part_of, plan.seed)
        for file, image in study.items():
            writing.write_image(image, staged[file].path, folder)
        shutil.rmtree(staging)
        writing.write_manifest(study.values(), folder)
        used = {row.line for found in matched.values() for row in found}
        notes = _notes(plan, rows_without_file=len(rows) - len(used))
        prepared = _reports(flow(images, part_of), notes, study, part_of, folder)
        if plan.key is not None:
            writing.write_key(_key(images, study), plan.key)
    return prepared


def _matched(
    folder: Path, rows: Sequence[ClinicalRow], decoder: Decoder, track: Track
) -> dict[str, tuple[ClinicalRow, ...]]:
    """The clinical rows of each file of the folder; none for some."""
    files = [file.relative_to(folder).as_posix() for file in files_in([folder])]
    uids = dict.fromkeys(files, "")
    if any(row.sop_instance_uid for row in rows):
        for file in track(files, "reading UIDs"):
            uids[file] = sop_instance_uid(decoder, folder / file)
    found = rows_by_file(rows, uids)
    return {file: found.get(file, ()) for file in files}


def _assess(
    plan: Preparation,
    matched: Mapping[str, tuple[ClinicalRow, ...]],
    decoder: Decoder,
    coloured_share: float,
    staging: Path,
    track: Track,
) -> tuple[list[Assessed], dict[str, _Staged]]:
    """Ask all that can be asked of one image alone. Pixels go to disk at once, for many fill the
    memory."""
    images: list[Assessed] = []
    staged: dict[str, _Staged] = {}
    for number, file in enumerate(track(list(matched), "decoding")):
        rows = matched[file]
        row = rows[0] if len(rows) == 1 else None
        reason = clinical_reason(rows, plan.birads)
        digest = None
        if reason is None and row is not None:
            picture = _picture(plan.images / file, row, decoder, coloured_share)
            if isinstance(picture, Picture):
                path = staging / f"{number}.jpg"
                writing.save_jpeg(picture.pixels, path, plan.quality)
                device = row.device or picture.device
                height, width = picture.pixels.shape
                staged[file] = _Staged(path, height, width, picture.annotation, device)
                digest = picture.digest()
            else:
                reason = picture
        images.append(Assessed(file, row, reason, digest))
    return images, staged


def _picture(
    file: Path, row: ClinicalRow, decoder: Decoder, coloured_share: float
) -> Picture | str:
    """The cropped picture with its outlines, or why there is none."""
    if row.label is None:
        return "no-definite-pathology"
    frame = read_frame(decoder, file, row.frame or 1, coloured_share)
    if isinstance(frame, NotAnalysed):
        return frame.code
    outlines = file.with_suffix(".json")
    try:
        annotation = read_annotation(outlines) if outlines.is_file() else None
    except (OSError, UnreadableAnnotation):
        return "unreadable-outline"
    return crop(frame, annotation, row.label)


def _parts(plan: Preparation, images: Sequence[Assessed]) -> dict[str, str]:
    """The part of each patient of the study: the clinical table's own, or drawn."""
    rows = [image.row for image in images if image.reason is None and image.row is not None]
    if not rows:
        reasons = Counter(image.reason for image in images)
        told = ", ".join(f"{reason}: {number}" for reason, number in reasons.most_common())
        raise ValueError(f"no image is left of {len(images)} ({told or 'the folder holds none'})")
    if any(row.split for row in rows):
        without = sum(not row.split for row in rows)
        if without:
            raise ValueError(f"the clinical table gives {without} images of the study no split")
        part_of = {row.patient: row.split for row in rows}
    else:
        strata = {row.patient: (row.label or "", row.birads) for row in rows}
        part_of = split_patients(strata, plan.test_share, plan.validation_share, plan.seed)
    return part_of


def _renamed(
    images: Sequence[Assessed],
    staged: Mapping[str, _Staged],
    part_of: Mapping[str, str],
    seed: int,
) -> dict[str, writing.StudyImage]:
    """The images of the study under new names, by the file they come from."""
    names = pseudonyms(part_of, seed)
    numbers: Counter[str] = Counter()
    study = {}
    for image in sorted(images, key=lambda image: image.file):
        if image.reason is not None or image.row is None:
            continue
        patient = names[image.row.patient]
        numbers[patient] += 1
        name = f"{patient}_{numbers[patient]}"
        picture = staged[image.file]
        annotation = picture.annotation
        study[image.file] = writing.StudyImage(
            name=name,
            row=image.row,
            patient=patient,
            split=part_of[image.row.patient],
            device=picture.device,
            height=picture.height,
            width=picture.width,
            annotation=annotation and replace(annotation, image_path=f"{name}.jpg"),
        )
    return study


def _notes(plan: Preparation, rows_without_file: int) -> tuple[str, ...]:
    categories = ", ".join(category.upper() for category in plan.birads)
    return (
        f"Included: BI-RADS {categories} with definite pathology; of each patient the lesion with "
        "the highest category, then the larger diameter, then the first lesion_id.",
        "Reasons are asked in this order, and an image is counted at the first that applies. A "
        "lesion or a patient is excluded with its last image.",
        f"Rows of the clinical table that mean no file: {rows_without_file}.",
    )


def _reports(
    counted: Flow,
    notes: Sequence[str],
    study: Mapping[str, writing.StudyImage],
    part_of: Mapping[str, str],
    folder: Path,
) -> Prepared:
    """Write flow and Table 1, each as Markdown and CSV, and the picture of the flow."""
    prepared = Prepared(
        flow=counted.table(notes),
        table_one=table_one(patients_of((image.row for image in study.values()), part_of)),
    )
    for name, table in ((writing.FLOW, prepared.flow), (writing.TABLE_ONE, prepared.table_one)):
        (folder / f"{name}.md").write_text(table.markdown(), encoding="utf-8")
        (folder / f"{name}.csv").write_text(table.csv(), encoding="utf-8")
    draw_flow(counted, [folder / f"{writing.FLOW}.{ending}" for ending in ("png", "svg")])
    return prepared


def _key(
    images: Sequence[Assessed], study: Mapping[str, writing.StudyImage]
) -> list[dict[str, str]]:
    """A row for each file that was found, whether it is in the study or not."""
    rows = []
    for image in images:
        new = study.get(image.file)
        cells = (
            image.file,
            image.row.patient if image.row else "",
            image.row.lesion if image.row else "",
            image.reason or "included",
            new.file if new else "",
            new.patient if new else "",
        )
        rows.append(dict(zip(writing.KEY_COLUMNS, cells, strict=True)))
    return rows
