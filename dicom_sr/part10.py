"""Data sets to files: DICOM PS3.10, Explicit VR Little Endian."""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_sr.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


def file_meta(dataset: Dataset) -> FileMetaDataset:
    """File meta information of an object of ours (DICOM PS3.10 7.1), Explicit VR Little Endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta


def part10_bytes(dataset: Dataset) -> bytes:
    """The data set as a whole file; the same data set gives the same bytes. It is not changed."""
    file = Dataset(dataset)
    file.file_meta = file_meta(dataset)
    content = BytesIO()
    dcmwrite(content, file, enforce_file_format=True)
    return content.getvalue()
