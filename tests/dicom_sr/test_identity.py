"""The same inputs name the same object; any other input names another."""

from __future__ import annotations

import pytest
from pydicom.uid import UID

from dicom_sr import identity
from dicom_sr.identity import ResultKind, result_uid

SOURCE, FRAME, SHA256, KIND, REVISION = "1.2.3", 1, "a" * 64, ResultKind.REPORT, 0


def test_a_result_keeps_its_uid() -> None:
    # A fixed value: a change of the namespace or of the order would rename every result.
    uid = result_uid(SOURCE, FRAME, SHA256, KIND, REVISION)
    assert uid == "2.25.24947169369011812133488732954704046883"
    assert UID(uid).is_valid


@pytest.mark.parametrize(
    "other",
    [
        ("1.2.4", FRAME, SHA256, KIND, REVISION),
        (SOURCE, 2, SHA256, KIND, REVISION),
        (SOURCE, FRAME, "b" * 64, KIND, REVISION),
        (SOURCE, FRAME, SHA256, ResultKind.OVERLAY, REVISION),
        (SOURCE, FRAME, SHA256, KIND, 1),
    ],
    ids=["source", "frame", "model", "kind", "revision"],
)
def test_each_ingredient_changes_the_uid(other: tuple[str, int, str, ResultKind, int]) -> None:
    assert result_uid(*other) != result_uid(SOURCE, FRAME, SHA256, KIND, REVISION)


def test_retraining_makes_another_device() -> None:
    assert identity.device_uid("a" * 64) != identity.device_uid("b" * 64)


def test_each_report_has_a_series_of_its_own() -> None:
    assert identity.report_series_uid("1.2.3") != identity.report_series_uid("1.2.4")


def test_overlays_of_a_study_share_a_series_per_model() -> None:
    series = identity.overlay_series_uid("1.2", "a" * 64)
    assert series == identity.overlay_series_uid("1.2", "a" * 64)
    assert series != identity.overlay_series_uid("1.3", "a" * 64)
    assert series != identity.overlay_series_uid("1.2", "b" * 64)


def test_implementation_fits_the_file_meta_information() -> None:
    assert UID(identity.IMPLEMENTATION_CLASS_UID).is_valid
    assert 1 <= len(identity.IMPLEMENTATION_VERSION_NAME) <= 16
