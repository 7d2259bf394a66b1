"""What every result has in common: patient, study, series, equipment and SOP modules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone

from pydicom.charset import python_encoding
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from dicom_sr import codes, identity
from dicom_sr.copied_text import copied_text
from dicom_sr.finding import ModelIdentity
from dicom_sr.source import ReportError, header_text, read_source
from dicom_sr.value_representation import encodable

_TYPE_2 = (
    "AccessionNumber",
    "PatientID",
    "PatientName",
    "ReferringPhysicianName",
    "StudyID",
)
_OPTIONAL = ("IssuerOfPatientID", "PatientAge", "StudyDescription")
_DEIDENTIFICATION = ("PatientIdentityRemoved", "DeidentificationMethod")
_ACQUISITION = (
    "Manufacturer",
    "InstitutionName",
    "StationName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
)
_UTF_8 = "ISO_IR 192"
_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000)


def result_header(
    source: Dataset,
    model: ModelIdentity,
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    series_instance_uid: str,
    started_at: datetime,
    further_models: Sequence[ModelIdentity] = (),
) -> Dataset:
    """The modules that a report and an overlay share (DICOM PS3.3 C.7.1–C.7.5, C.12.1).

    Dates and times of the result are ``started_at`` (timezone-aware), told in the source's own
    timezone, because Timezone Offset From UTC also rules the study's date and time that are
    copied; a source that names none gets the offset of ``started_at``.

    further_models: those that have a part in the result beside ``model``.

    Raises ReportError if the source lacks a UID, or if its Patient ID cannot be one.
    """
    image = read_source(source)
    models = (model, *further_models)
    header = Dataset()
    for keyword in _TYPE_2:
        _put(header, keyword, _copied(source, keyword))
    if header_text(source, "PatientID") and not header.PatientID:
        # Without it an archive would file the result with another patient.
        raise ReportError("the source image's PatientID is no valid value")
    for keyword in _OPTIONAL:
        if text := _copied(source, keyword):
            _put(header, keyword, text)
    _put_deidentification(header, source)
    _put(header, "PatientBirthDate", _date(header_text(source, "PatientBirthDate")))
    sex = header_text(source, "PatientSex")
    _put(header, "PatientSex", sex if sex in ("F", "M", "O") else "")
    header.StudyInstanceUID = image.study_instance_uid
    _put(header, "StudyDate", _date(header_text(source, "StudyDate")))
    _put(header, "StudyTime", _time(header_text(source, "StudyTime")))

    header.SeriesInstanceUID = series_instance_uid
    header.Manufacturer = identity.MANUFACTURER
    header.ManufacturerModelName = identity.MANUFACTURER_MODEL_NAME
    header.DeviceSerialNumber = model.sha256
    header.SoftwareVersions = [
        identity.SOFTWARE_VERSION,
        *(long_string(f"{each.name} {each.version}") for each in models),
    ]

    local = started_at.astimezone(_timezone(source, started_at))
    header.SOPClassUID = sop_class_uid
    header.SOPInstanceUID = sop_instance_uid
    header.TimezoneOffsetFromUTC = local.strftime("%z")
    header.ContentDate = header.InstanceCreationDate = local.strftime("%Y%m%d")
    header.ContentTime = header.InstanceCreationTime = local.strftime("%H%M%S.%f")
    header.ContentQualification = "RESEARCH"
    header.ContributingEquipmentSequence = [
        *_acquisition_equipment(source),
        *(_algorithm(each, local) for each in models),
    ]
    return header


def _copied(source: Dataset, keyword: str) -> str:
    declared = bool(header_text(source, "SpecificCharacterSet"))
    return copied_text(keyword, header_text(source, keyword), declared=declared)


def _put_deidentification(header: Dataset, source: Dataset) -> None:
    """Patient Identity Removed asks for the method (DICOM PS3.3 C.7.1.1)."""
    removed, method = (_copied(source, keyword) for keyword in _DEIDENTIFICATION)
    if removed in ("YES", "NO") and method:
        for keyword, text in zip(_DEIDENTIFICATION, (removed, method), strict=True):
            _put(header, keyword, text)


def code_item(code: Code) -> Dataset:
    """One item of a code sequence (DICOM PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def image_reference(source: Dataset, frame: int | None = None) -> Dataset:
    """Image SOP Instance Reference (DICOM PS3.3 10.3) to the source, or to one frame of it."""
    image = read_source(source)
    item = Dataset()
    item.ReferencedSOPClassUID = image.sop_class_uid
    item.ReferencedSOPInstanceUID = image.sop_instance_uid
    if frame is not None and image.multi_frame:
        item.ReferencedFrameNumber = frame
    return item


def series_laterality(source: Dataset) -> str | None:
    """Laterality of a series (DICOM PS3.3 C.7.3.1): ``L`` or ``R``, only where the header says it.

    ``B``, which one image may bear, is not a series' side.
    """
    side = read_source(source).laterality
    return side if side in ("L", "R") else None


def put_lossy_compression(image: Dataset, source: Dataset) -> None:
    """Once lossy, always lossy (DICOM PS3.3 C.7.6.1.1.5): carried over, or told by the syntax."""
    lossy = header_text(source, "LossyImageCompression")
    meta = getattr(source, "file_meta", Dataset())
    if UID(header_text(meta, "TransferSyntaxUID")) in _LOSSY:
        lossy = "01"
    if lossy not in ("00", "01"):
        return
    image.LossyImageCompression = lossy
    if lossy == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if text := _copied(source, keyword):
                _put(image, keyword, text)


def long_string(text: str) -> str:
    """A text that fits the VR LO: 64 characters, no backslash."""
    return text.replace("\\", "/")[:64]


def settle_character_set(result: Dataset, source: Dataset) -> None:
    """Write the result in the source's character set where it has one that holds all the text.

    A source with code extensions (ISO 2022, several values) becomes UTF-8. A source that declares
    none keeps none, so that undeclared bytes come out as they came in.
    """
    declared = header_text(source, "SpecificCharacterSet").replace("ISO 2022 IR", "ISO_IR")
    encoding = python_encoding.get(declared)
    texts = list(_texts(result))
    if encoding is None or not all(encodable(text, encoding) for text in texts):
        result.SpecificCharacterSet = _UTF_8
    elif declared:
        result.SpecificCharacterSet = declared


def has_undeclared_text(data_set: Dataset) -> bool:
    """It has texts beyond ASCII and does not say in which character set they are."""
    declared = header_text(data_set, "SpecificCharacterSet")
    return not declared and not all(text.isascii() for text in _texts(data_set))


def _put(header: Dataset, keyword: str, text: str) -> None:
    """Set an attribute without pydicom's check, whose warnings would show the patient's data."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    header.add(DataElement(tag, dictionary_VR(tag), text, validation_mode=IGNORE))


def _date(text: str) -> str:
    """A valid DA or nothing; the dots of ACR-NEMA dates are taken out."""
    digits = text.replace(".", "")
    try:
        datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return ""
    return digits if len(digits) == 8 else ""


def _time(text: str) -> str:
    """A valid TM or nothing; the colons of ACR-NEMA times are taken out."""
    digits = text.replace(":", "")
    valid = re.fullmatch(
        r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?", digits, flags=re.ASCII
    )
    return digits if valid else ""


def _timezone(source: Dataset, started_at: datetime) -> timezone:
    """The source's offset from UTC, or the one that ``started_at`` carries."""
    offset = started_at.utcoffset()
    if offset is None:
        raise ValueError("started_at needs a timezone")
    stated = re.fullmatch(
        r"([+-])(\d\d)([0-5]\d)", header_text(source, "TimezoneOffsetFromUTC"), flags=re.ASCII
    )
    if stated:
        minutes = int(stated[2]) * 60 + int(stated[3])
        if minutes <= 14 * 60:
            offset = timedelta(minutes=-minutes if stated[1] == "-" else minutes)
    return timezone(offset)


def _acquisition_equipment(source: Dataset) -> list[Dataset]:
    """The scanner as Contributing Equipment; none if the source does not name its maker."""
    if not _copied(source, "Manufacturer"):
        return []
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(codes.ACQUISITION_EQUIPMENT)]
    for keyword in _ACQUISITION:
        if text := _copied(source, keyword):
            _put(item, keyword, text)
    return [item]


def _algorithm(model: ModelIdentity, local: datetime) -> Dataset:
    """The algorithm as Contributing Equipment (IHE AI Results)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(codes.PROCESSING_EQUIPMENT)]
    item.Manufacturer = identity.MANUFACTURER
    item.ManufacturerModelName = long_string(model.name)
    item.SoftwareVersions = long_string(model.version)
    item.DeviceSerialNumber = model.sha256
    item.DeviceUID = identity.device_uid(model.sha256)
    # Timezone Offset From UTC tells the offset; dcmpschk takes a DT that ends in +0000 for invalid.
    item.ContributionDateTime = local.strftime("%Y%m%d%H%M%S.%f")
    item.ContributionDescription = "Scored the image for malignancy; unverified AI result"
    return item


def _texts(dataset: Dataset) -> Iterator[str]:
    """Every text of a data set that Specific Character Set rules."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in ("LO", "LT", "PN", "SH", "ST", "UC", "UT"):
            yield str(element.value)
