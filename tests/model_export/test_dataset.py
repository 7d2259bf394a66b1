"""Manifests: columns, subsets, masks, and patients that stay on one side."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_export.dataset import read_manifest, refuse_shared_patients, select


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = ["a.png,benign,p1,4a,train", "b.png,malignant,p2,4c,test", "c.png,benign,p1,3,test"]
    content = "\n".join(["file,label,patient_id,birads,split", *rows])
    (tmp_path / "manifest.csv").write_text(content + "\n")
    return tmp_path


def test_a_subset_is_a_condition_on_a_column(folder: Path) -> None:
    images = read_manifest(folder)
    assert [image.file for image in select(images, "split=test")] == ["b.png", "c.png"]
    assert [image.file for image in select(images, "birads=3, 4a")] == ["a.png", "c.png"]
    assert select(images, None) == images


@pytest.mark.parametrize(
    ("where", "message"),
    [("split", "form"), ("fold=1", "no column 'fold'"), ("split=x", "no image has split=x")],
)
def test_a_condition_that_cannot_be_is_named(folder: Path, where: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select(read_manifest(folder), where)


def test_a_patient_on_both_sides_is_refused(folder: Path) -> None:
    images = read_manifest(folder)
    train, test = select(images, "split=train"), select(images, "split=test")
    with pytest.raises(ValueError, match="1 patients stand on both sides"):
        refuse_shared_patients(training=train, test=test)
    refuse_shared_patients(training=train, test=test[:1])


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,label\na.png,benign\n")
    with pytest.raises(ValueError, match="patient_id"):
        read_manifest(tmp_path)


def test_the_official_folds_keep_patients_apart(data_folder: Path) -> None:
    images = read_manifest(data_folder / "bus-bra")
    assert len(images) == 1875
    parts = {f"fold{fold}": select(images, f"fold5={fold}") for fold in range(1, 6)}
    refuse_shared_patients(**parts)
    assert sum(map(len, parts.values())) == 1875


def test_every_lesion_of_both_collections_has_its_mask(data_folder: Path) -> None:
    for name in ("bus-bra", "breast-lesions-usg"):
        images = read_manifest(data_folder / name)
        assert [image.file for image in images if image.mask_path is None] == []
        assert images[0].mask().shape == images[0].pixels().shape
