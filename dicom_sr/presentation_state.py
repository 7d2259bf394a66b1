"""The result drawn over the image: a softcopy presentation state (DICOM PS3.3 A.33)."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import ColorSoftcopyPresentationStateStorage as ColorState
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage as GrayscaleState

from dicom_sr import identity
from dicom_sr.contour import cam_contour
from dicom_sr.finding import Finding, ModelIdentity
from dicom_sr.geometry import outline, require_inside
from dicom_sr.header import (
    image_reference,
    long_string,
    result_header,
    series_laterality,
    settle_character_set,
)
from dicom_sr.icc_profile import srgb_profile
from dicom_sr.source import (
    ReportError,
    SourceImage,
    as_count,
    header_text,
    header_value,
    read_source,
)
from dicom_sr.templates import percentages

SERIES_NUMBER = 9005
SERIES_DESCRIPTION = "AI breast ultrasound contours, unverified"

LAYER = "AI_RESULT"
# The blue of the overlay's outline, (92, 200, 255) in sRGB; and nearly white.
_LAYER_COLOUR = (50174, 29098, 23593)
_LAYER_GRAY = 60000

_TEXT_TOP_LEFT, _TEXT_BOTTOM_RIGHT = (0.01, 0.9), (0.99, 0.99)
_WINDOW_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def build_presentation_state(
    source: Dataset,
    finding: Finding,
    model: ModelIdentity,
    *,
    revision: int,
    started_at: datetime,
    edition: int = 0,
) -> Dataset | None:
    """The CAM's contour at half of its maximum, the analysed box and the score, over the image.

    A Grayscale state for a monochrome image, a Color state for palette, RGB and YBR. All is drawn
    on one graphic layer, and applies to the scored frame alone. A monochrome image looks as its
    own header has it: rescale and first window are carried over.

    source: the image's header; its pixels are not read, and it is not changed.
    revision, started_at, edition: see ``build_report``; the states of a study share one series.
    Returns None if the CAM is all zero: there is no contour to draw.

    Raises ReportError if the source lacks a UID, Rows, Columns or Photometric Interpretation.
    """
    contour = cam_contour(finding.cam, finding.region)
    if contour is None:
        return None
    image = read_source(source)
    kind = identity.ResultKind.PRESENTATION_STATE
    monochrome = _is_monochrome(source)
    state = result_header(
        source,
        model,
        sop_class_uid=GrayscaleState if monochrome else ColorState,
        sop_instance_uid=identity.result_uid(
            image.sop_instance_uid, finding.frame, model.sha256, kind, revision, edition
        ),
        series_instance_uid=identity.shared_series_uid(
            image.study_instance_uid, model.sha256, kind, series_laterality(source)
        ),
        started_at=started_at,
    )
    state.Modality = "PR"
    state.SeriesNumber = SERIES_NUMBER
    state.SeriesDescription = SERIES_DESCRIPTION
    state.Laterality = series_laterality(source)
    state.InstanceNumber = image.instance_number
    state.ContentLabel = "GRAD_CAM"
    state.ContentDescription = long_string(f"Grad-CAM for {finding.decision}, unverified AI result")
    state.ContentCreatorName = None
    state.PresentationCreationDate = state.ContentDate
    state.PresentationCreationTime = state.ContentTime
    del state.ContentDate, state.ContentTime
    require_inside(image, finding.region)
    state.ReferencedSeriesSequence = [_referenced_series(source, image, finding.frame)]
    state.DisplayedAreaSelectionSequence = [_displayed_area(source, image)]
    state.GraphicLayerSequence = [_layer(monochrome)]
    state.GraphicAnnotationSequence = [_annotation(finding, contour)]
    if monochrome:
        _put_grayscale_transformations(state, source)
    else:
        state.ICCProfile = _icc_profile(source)
    settle_character_set(state, source)
    return state


def _is_monochrome(source: Dataset) -> bool:
    photometric = header_text(source, "PhotometricInterpretation")
    if not photometric:
        raise ReportError("the source image has no PhotometricInterpretation")
    return photometric.startswith("MONOCHROME")


def _icc_profile(source: Dataset) -> bytes:
    """The source's, else that of sRGB."""
    profile = header_value(source, "ICCProfile")
    return profile if isinstance(profile, bytes) and profile else srgb_profile()


def _referenced_series(source: Dataset, image: SourceImage, frame: int) -> Dataset:
    """Presentation State Relationship (DICOM PS3.3 C.11.11)."""
    item = Dataset()
    item.SeriesInstanceUID = image.series_instance_uid
    item.ReferencedImageSequence = [image_reference(source, frame)]
    return item


def _displayed_area(source: Dataset, image: SourceImage) -> Dataset:
    """The whole image, as large as it fits (DICOM PS3.3 C.10.4)."""
    if image.rows is None or image.columns is None:
        raise ReportError("the source image has no Rows or no Columns")
    item = Dataset()
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [image.columns, image.rows]
    item.PresentationSizeMode = "SCALE TO FIT"
    item.PresentationPixelAspectRatio = _pixel_aspect_ratio(source)
    return item


def _pixel_aspect_ratio(source: Dataset) -> list[int]:
    """Height and width of a pixel: the source's, or square."""
    ratio = header_value(source, "PixelAspectRatio")
    if not isinstance(ratio, MultiValue) or len(ratio) != 2:
        return [1, 1]
    height, width = (as_count(value) for value in ratio)
    return [height, width] if height and width else [1, 1]


def _layer(monochrome: bool) -> Dataset:
    """Graphic Layer (DICOM PS3.3 C.10.7)."""
    item = Dataset()
    item.GraphicLayer = LAYER
    item.GraphicLayerOrder = 1
    if monochrome:
        item.GraphicLayerRecommendedDisplayGrayscaleValue = _LAYER_GRAY
    item.GraphicLayerRecommendedDisplayCIELabValue = list(_LAYER_COLOUR)
    item.GraphicLayerDescription = "Unverified AI result"
    return item


def _annotation(finding: Finding, contour: NDArray[np.float64]) -> Dataset:
    """Graphic Annotation (DICOM PS3.3 C.10.5); it applies to all that the state refers to."""
    item = Dataset()
    item.GraphicLayer = LAYER
    item.GraphicObjectSequence = [_closed_line(outline(finding.region)), _closed_line(contour)]
    item.TextObjectSequence = [_text(finding)]
    return item


def _closed_line(points: NDArray[np.float64]) -> Dataset:
    """A POLYLINE through ``(n, 2)`` columns and rows, the last point equal to the first."""
    item = Dataset()
    item.GraphicAnnotationUnits = "PIXEL"
    item.GraphicDimensions = 2
    item.NumberOfGraphicPoints = len(points)
    item.GraphicData = points.ravel().tolist()
    item.GraphicType = "POLYLINE"
    item.GraphicFilled = "N"
    return item


def _text(finding: Finding) -> Dataset:
    """At the lower edge of what is displayed."""
    malignant, _, threshold = percentages(finding)
    item = Dataset()
    item.BoundingBoxAnnotationUnits = "DISPLAY"
    item.BoundingBoxTopLeftHandCorner = list(_TEXT_TOP_LEFT)
    item.BoundingBoxBottomRightHandCorner = list(_TEXT_BOTTOM_RIGHT)
    item.BoundingBoxTextHorizontalJustification = "LEFT"
    item.UnformattedTextValue = (
        f"{finding.decision.capitalize()}: malignancy score {malignant:.1f} %, "
        f"threshold {threshold:.1f} %\r\nAI, unverified, research use only"
    )
    return item


def _put_grayscale_transformations(state: Dataset, source: Dataset) -> None:
    """Modality LUT, Softcopy VOI LUT and Presentation LUT (DICOM PS3.3 C.11.1, C.11.8, C.11.6)."""
    slope, intercept = _number(source, "RescaleSlope"), _number(source, "RescaleIntercept")
    if slope and intercept is not None:
        state.RescaleIntercept, state.RescaleSlope = _decimal(intercept), _decimal(slope)
        state.RescaleType = "US"  # unspecified
    centre, width = _number(source, "WindowCenter"), _number(source, "WindowWidth")
    if centre is not None and width is not None and width >= 1:
        window = Dataset()
        window.WindowCenter, window.WindowWidth = _decimal(centre), _decimal(width)
        function = header_text(source, "VOILUTFunction")
        if function in _WINDOW_FUNCTIONS:
            window.VOILUTFunction = function
        state.SoftcopyVOILUTSequence = [window]
    inverse = header_text(source, "PhotometricInterpretation") == "MONOCHROME1"
    state.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"


def _number(source: Dataset, keyword: str) -> float | None:
    """The first value of a DS, or None if it is no finite number."""
    text = header_text(source, keyword).split("\\")[0]
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _decimal(value: float) -> str:
    """A DS of at most 16 bytes."""
    return f"{value:.8g}"
