"""From a finding to the files of its parcel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from dicom_sr.finding import Decision, Finding, ModelIdentity, NotAnalysed
from dicom_sr.key_objects import build_key_objects
from dicom_sr.overlay import draw_overlay
from dicom_sr.presentation_state import build_presentation_state
from dicom_sr.reference import InstanceReference, reference_to
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from dicom_sr.segmentation import build_segmentation
from service.destination import ObjectKind
from service.results import FILES, PICTURE_FILE, ResultCheck

_Objects = Iterator[tuple[ObjectKind, Dataset]]


@dataclass(frozen=True)
class Edition:
    """Which result of which content it is; see ``Analyser.analyse``."""

    revision: int
    started_at: datetime
    number: int = 0
    predecessor: InstanceReference | None = None


@dataclass(frozen=True)
class Made:
    """objects, uids: names and SOP Instance UIDs in the order of sending.

    files: names and bytes of the objects, and of the picture.
    """

    objects: tuple[str, ...]
    uids: tuple[str, ...]
    files: tuple[tuple[str, bytes], ...]


class ResultMaker:
    """Builds and checks what is wanted of each image. Thread-safe."""

    def __init__(
        self, model: ModelIdentity, wanted: frozenset[ObjectKind], check: ResultCheck
    ) -> None:
        self._model = model
        self._wanted = wanted
        self._check = check

    def make(
        self,
        header: Dataset,
        result: Finding | NotAnalysed,
        frame: NDArray[np.uint8] | None,
        edition: Edition,
    ) -> Made:
        """Of a finding the picture, too.

        frame: ``(H, W, 3)`` uint8 RGB, the whole frame that a finding is about.
        Raises ReportError, or InvalidObject for an object that may not leave.
        """
        if isinstance(result, NotAnalysed) or frame is None:
            report = self._report(header, result, edition)
            return self._made(header, iter([(ObjectKind.REPORT, report)]), ())
        overlay = draw_overlay(frame, result, self._model)
        objects = self._of_finding(header, result, overlay, edition)
        return self._made(header, objects, ((PICTURE_FILE, _png(overlay)),))

    def _made(
        self, header: Dataset, objects: _Objects, pictures: tuple[tuple[str, bytes], ...]
    ) -> Made:
        files, uids = [], []
        for kind, data_set in objects:
            files.append((FILES[kind], self._check.part10(FILES[kind], data_set, header)))
            uids.append(str(data_set.SOPInstanceUID))
        return Made(tuple(name for name, _ in files), tuple(uids), (*files, *pictures))

    def _report(self, header: Dataset, result: Finding | NotAnalysed, edition: Edition) -> Dataset:
        return build_report(
            header,
            result,
            self._model,
            revision=edition.revision,
            started_at=edition.started_at,
            edition=edition.number,
            predecessor=edition.predecessor,
        )

    def _of_finding(
        self, header: Dataset, finding: Finding, overlay: NDArray[np.uint8], edition: Edition
    ) -> _Objects:
        """The report is always made: a study's summary may refer to it."""
        model, revision, started_at = self._model, edition.revision, edition.started_at
        number = edition.number
        report = self._report(header, finding, edition)
        yield ObjectKind.REPORT, report
        capture = build_secondary_capture(
            header,
            overlay,
            finding,
            model,
            revision=revision,
            started_at=started_at,
            edition=number,
        )
        if ObjectKind.OVERLAY in self._wanted:
            yield ObjectKind.OVERLAY, capture
        for kind, build in (
            (ObjectKind.SEGMENTATION, build_segmentation),
            (ObjectKind.PRESENTATION_STATE, build_presentation_state),
        ):
            if kind in self._wanted:
                built = build(
                    header, finding, model, revision=revision, started_at=started_at, edition=number
                )
                if built is not None:
                    yield kind, built
        suspicious = finding.decision is Decision.MALIGNANT
        if ObjectKind.KEY_OBJECTS in self._wanted and suspicious:
            yield (
                ObjectKind.KEY_OBJECTS,
                build_key_objects(
                    header,
                    finding,
                    model,
                    [reference_to(capture), reference_to(report)],
                    revision=revision,
                    started_at=started_at,
                    edition=number,
                ),
            )


def _png(picture: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
