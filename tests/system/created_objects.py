"""Every kind of object that we create, built from headers that differ in all that they copy."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cache

import numpy as np
from pydicom.dataset import Dataset

from dicom_sr.finding import Box, Finding, ModelIdentity, NotAnalysed
from dicom_sr.key_objects import build_key_objects
from dicom_sr.lesion import FoundBy, Lesion
from dicom_sr.presentation_state import build_presentation_state
from dicom_sr.reference import reference_to
from dicom_sr.rejection_note import RejectionReason, build_rejection_note
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from dicom_sr.segmentation import build_segmentation
from dicom_sr.study_report import ImageResult, Scored, build_study_report
from dicom_sr.variant import Variant, as_variant
from service.delivery.form import variant_for
from service.destination import CharacterSet, DimseDestination, ObjectKind, ReportClass

BOX = Box(20, 10, 140, 110)
NOT_ANALYSED = NotAnalysed("doppler", "The box shows Doppler.")

REPORT = "Structured report"
STUDY_REPORT = "Study summary"
CAPTURE = "Secondary capture"
SEGMENTATION = "Segmentation"
GRAYSCALE_STATE = "Grayscale presentation state"
COLOR_STATE = "Color presentation state"
KEY_OBJECTS = "Key objects"
REJECTION_NOTE = "Rejection note"


@dataclass(frozen=True)
class Created:
    """An object, the header that it copies from, and its form for a destination that is fussy."""

    data_set: Dataset
    source: Dataset
    variant: Dataset


@cache
def created_objects() -> dict[str, list[Created]]:
    """By kind; each kind from every header, with and without whatever may be missing."""
    objects: dict[str, list[Created]] = {}
    for number, source in enumerate(_headers()):
        for kind, data_set in _objects_of(source, number):
            variant = as_variant(data_set, _variant(number))
            objects.setdefault(kind, []).append(Created(data_set, source, variant))
    return objects


def model(number: int) -> ModelIdentity:
    return ModelIdentity(
        f"Model {number}", f"{number}.0", f"{number}a" * 32, (f"input={number} pixels",)
    )


def finding(number: int, malignant: bool, heatmap: bool = True) -> Finding:
    """frame: of a cine the one after its number."""
    cam = np.zeros((BOX.height, BOX.width), dtype=np.float32)
    if heatmap:
        cam[20:60, 30 : 80 + number] = 0.6
        cam[30:70, 40:60] = 1
    probability = (0.8 if malignant else 0.2) + number / 100
    return Finding(number + 1, 9, BOX, "region", probability, 1 - probability, 0.5, cam)


def _objects_of(source: Dataset, number: int) -> Iterator[tuple[str, Dataset]]:
    algorithm = model(number)
    started_at = datetime(2026, 3, 1 + number, 12, number, tzinfo=timezone(timedelta(hours=number)))
    when = {"revision": number, "started_at": started_at}
    results = (
        finding(number, malignant=True),
        finding(number, malignant=False),
        finding(number, malignant=False, heatmap=False),
        NOT_ANALYSED,
    )
    reports = [build_report(source, result, algorithm, **when) for result in results]
    if not number % 2:
        reports.append(build_report(_without_size(source), NOT_ANALYSED, algorithm, **when))
    again = {"edition": 1, "predecessor": reference_to(reports[0])}
    yield from ((REPORT, report) for report in reports)
    yield REPORT, build_report(source, results[0], algorithm, **when, **again)
    overlay = np.full((source.Rows + 30, source.Columns, 3), number, dtype=np.uint8)
    for result in results[: len(results) - 1]:
        yield CAPTURE, build_secondary_capture(source, overlay, result, algorithm, **when)
    capture = build_secondary_capture(source, overlay, results[0], algorithm, **when)
    for result in results[:2]:
        segmentation = build_segmentation(source, result, algorithm, **when)
        state = build_presentation_state(source, result, algorithm, **when)
        assert segmentation is not None
        assert state is not None
        yield SEGMENTATION, segmentation
        monochrome = source.PhotometricInterpretation.startswith("MONOCHROME")
        yield GRAYSCALE_STATE if monochrome else COLOR_STATE, state
    references = [reference_to(capture), reference_to(reports[0])]
    yield KEY_OBJECTS, build_key_objects(source, results[0], algorithm, references, **when)
    for reason, rejected in (
        (RejectionReason.QUALITY, [reports[3]]),
        (RejectionReason.PATIENT_SAFETY, [capture, segmentation, *reports[:2], state]),
    ):
        note = build_rejection_note(
            source, list(map(reference_to, rejected)), algorithm, reason, f"no {number}", **when
        )
        yield REJECTION_NOTE, note
    yield from (
        (STUDY_REPORT, each) for each in _study_reports(source, reports, started_at, number)
    )


def _study_reports(
    source: Dataset, reports: list[Dataset], started_at: datetime, number: int
) -> Iterator[Dataset]:
    images = [deepcopy(source) for _ in range(4)]
    for place, image in enumerate(images[1:]):
        image.SOPInstanceUID += f".{place}"
    del images[3].Rows, images[3].Columns
    said = (_scored(number, True), _scored(number, False), NOT_ANALYSED, NOT_ANALYSED)
    algorithms = (model(number), model(7), model(number), model(number))
    all_results = [
        ImageResult(image, result, algorithm, reference_to(report))
        for image, result, algorithm, report in zip(images, said, algorithms, reports, strict=False)
    ]
    pair = [all_results[0], replace(all_results[1], model=all_results[0].model)]
    uids = tuple(str(each.image.SOPInstanceUID) for each in pair)
    lesion = Lesion(
        f"lesion {number}", "10:00", ("L", "R", None)[number % 3], list(FoundBy)[number % 2], uids
    )
    choices = (
        pair,
        all_results,
        all_results[:2],
        all_results[1:],
        all_results[1:2],
        all_results[2:],
    )
    for results in choices:
        for with_reports in (True, False):
            yield build_study_report(
                results,
                number=number,
                with_reports=with_reports,
                started_at=started_at,
                lesions=[lesion],
            )


def _scored(number: int, malignant: bool) -> Scored:
    known = finding(number, malignant)
    return Scored(
        known.frame,
        known.frames_scored,
        known.probability_malignant,
        known.threshold,
        known.decision,
        known.region,
        unlike_training=malignant,
    )


def _variant(number: int) -> Variant:
    """What a destination asks for that wants everything otherwise."""
    destination = DimseDestination(
        name="fussy",
        host="pacs",
        port=104,
        ae_title="PACS",
        character_set=list(CharacterSet)[(number + 1) % len(CharacterSet)],
        overlay_modality="US",
        series_numbers=dict.fromkeys(ObjectKind, 100 + number),
        series_descriptions=dict.fromkeys(ObjectKind, f"AI {number}"),
    )
    return variant_for(destination, list(ReportClass)[(number + 1) % len(ReportClass)])


def _headers() -> list[Dataset]:
    return [
        _rich(0, ImageLaterality="L"),
        _rich(1, PhotometricInterpretation="MONOCHROME2", ImageLaterality="B", **_CINE),
        _poor(2),
        _poor(3, PhotometricInterpretation="MONOCHROME1"),
        _rich(4, PhotometricInterpretation="MONOCHROME1", ImageLaterality="R", **_CINE),
        _rich(5, ICCProfile=b"profile", Laterality="R", **_CINE),
        _rich(6, ImageLaterality="L", **_CINE),
    ]


_CINE = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1", "NumberOfFrames": 9}


def _poor(number: int, **attributes: object) -> Dataset:
    """A header with nothing that can be done without."""
    header = Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    header.SOPInstanceUID = f"1.2.3.{number}.1"
    header.StudyInstanceUID = f"1.2.3.{number}.2"
    header.SeriesInstanceUID = f"1.2.3.{number}.3"
    header.Rows, header.Columns = 120 + number, 160 + number
    header.PhotometricInterpretation = "RGB"
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    return header


def _rich(number: int, **attributes: object) -> Dataset:
    """A header with everything that we copy or look at."""
    return _poor(
        number,
        SpecificCharacterSet=("ISO_IR 100", "ISO_IR 192", "GB18030")[number % 3],
        PatientName=f"Doe^Jane {number}",
        PatientID=f"P-{number}",
        IssuerOfPatientID=f"Issuer {number}",
        PatientBirthDate=f"1970010{number + 1}",
        PatientSex="FOM"[number % 3],
        PatientAge=f"05{number}Y",
        PatientIdentityRemoved="YES",
        DeidentificationMethod=f"Method {number}",
        AccessionNumber=f"A-{number}",
        StudyID=f"S-{number}",
        StudyDate=f"2026010{number + 1}",
        StudyTime=f"10111{number}",
        StudyDescription=f"Study {number}",
        ReferringPhysicianName=f"Roe^Richard {number}",
        TimezoneOffsetFromUTC=f"+0{number}00",
        InstanceNumber=7 + number,
        SeriesNumber=3 + number,
        Manufacturer=f"Maker {number}",
        ManufacturerModelName=f"Scanner {number}",
        InstitutionName=f"Hospital {number}",
        StationName=f"STATION{number}",
        DeviceSerialNumber=f"SN{number}",
        SoftwareVersions=f"v{number}",
        LossyImageCompression="01" if number else "00",
        LossyImageCompressionRatio=10 + number,
        LossyImageCompressionMethod="ISO_10918_1" if number == 1 else "ISO_15444_1",
        SequenceOfUltrasoundRegions=[_region(number)],
        PixelAspectRatio=[1, 1 + number],
        RescaleIntercept=number,
        RescaleSlope=1 + number,
        WindowCenter=100 + number,
        WindowWidth=200 + number,
        VOILUTFunction="SIGMOID" if number == 1 else "LINEAR",
        **attributes,
    )


def _without_size(source: Dataset) -> Dataset:
    header = deepcopy(source)
    del header.Rows, header.Columns
    return header


def _region(number: int) -> Dataset:
    """A calibrated 2D tissue region around the box."""
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 159, 119
    region.PhysicalDeltaX = region.PhysicalDeltaY = (10 + number) / 1000
    return region
