"""Judged images as a training folder: the circle is closed by what ``secondread-model`` reads."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UltrasoundMultiFrameImageStorage

from model_export.dataset import read_manifest, select
from service.journal.truth_records import Diagnosis, Source, Subject, Truth
from service.spool import Spool
from service.still_image import wrap_pixels
from tests.truth.conftest import SCORED

REGION = (10, 20, 110, 90)


@pytest.fixture
def judged(site):
    """``judged(1, "malignant", "DOE")``: the pixels of a received image of study 1.

    Its study's diagnosis is known, or its own.
    """
    spool = Spool(site.settings.spool_dir)
    spool.prepare()
    random = np.random.default_rng(1)

    def make(
        study: int,
        diagnosis: str,
        patient: str,
        number: int = 1,
        subject: Subject = Subject.STUDY,
        issuer: str = "HOSPITAL",
    ) -> np.ndarray:
        pixels = random.integers(0, 256, (120, 160), dtype=np.uint8)
        data_set = wrap_pixels(pixels, f"{study} {number}")
        data_set.PatientName, data_set.PatientID = f"{patient}^JANE", patient
        data_set.IssuerOfPatientID = issuer
        key = site.analysed(study, 0.9, number, region=REGION, scanner_model="LOGIQ E9")
        path = spool.image_path(key)
        path.parent.mkdir(exist_ok=True)
        data_set.save_as(path, enforce_file_format=True)
        uid = f"1.2.900.{study}" if subject is Subject.STUDY else f"1.2.{study}.{number}"
        told = Truth(subject, uid, Diagnosis(diagnosis), date(2026, 3, 9), Source.SURGERY, "me")
        site.journal.record_truth(told)
        return pixels

    return make


def test_the_model_maker_reads_what_was_scored_with_what_pathology_says(site, judged) -> None:
    left, top, right, bottom = REGION
    cyst = judged(1, "benign", "DOE")[top:bottom, left:right]
    tumour = judged(2, "malignant", "ROE")[top:bottom, left:right]
    answer = site.secondread("truth", "export", site.folder / "training")
    assert answer.returncode == 0, answer.stderr
    assert "2 images of 2 patients" in answer.stdout

    by_label = {image.label: image for image in read_manifest(site.folder / "training")}
    assert np.array_equal(by_label[0].pixels(), cyst)
    assert np.array_equal(by_label[1].pixels(), tumour)
    assert by_label[1].file.startswith("malignant/")
    assert by_label[1].columns["device"] == "LOGIQ E9"
    assert by_label[1].columns["split"] == ""
    assert by_label[1].columns["source"] == "surgery"


def test_a_patient_has_one_pseudonym_and_is_named_nowhere(site, judged) -> None:
    judged(1, "benign", "DOE")
    judged(2, "malignant", "DOE")
    judged(3, "malignant", "ROE")
    judged(4, "benign", "DOE", issuer="ELSEWHERE")
    folder = site.folder / "training"
    answer = site.secondread("truth", "export", folder, "--json")
    assert json.loads(answer.stdout) == {"images": 4, "patients": 3, "left_out": {}}
    patients = sorted(image.patient for image in read_manifest(folder))
    assert len(set(patients)) == 3
    told = answer.stdout + answer.stderr
    told += "".join(str(path) for path in folder.rglob("*"))
    told += (folder / "manifest.csv").read_text()
    for name in ("DOE", "ROE", "JANE", "1.2.900", site.journal.images()[0].key):
        assert name not in told
    assert not any(b"DOE" in path.read_bytes() for path in folder.rglob("*.png"))


def test_whether_a_label_is_the_images_own_can_be_chosen(site, judged) -> None:
    judged(1, "malignant", "DOE", number=1)
    judged(1, "benign", "DOE", number=2, subject=Subject.IMAGE)
    assert site.secondread("truth", "export", site.folder / "training").returncode == 0
    images = read_manifest(site.folder / "training")
    assert [image.label for image in select(images, "truth=image")] == [0]
    assert [image.label for image in select(images, "truth=study")] == [1]


def test_what_can_no_longer_be_read_is_counted_and_the_rest_is_written(site, judged) -> None:
    judged(1, "malignant", "DOE")
    judged(2, "benign", "ROE")
    judged(3, "benign", "POE")
    spool = Spool(site.settings.spool_dir)
    missing, broken, _ = (spool.image_path(row.key) for row in site.journal.judged_images())
    missing.unlink()
    broken.write_bytes(b"\0" * 1000)
    answer = site.secondread("truth", "export", site.folder / "training", "--json")
    assert answer.returncode == 1
    told = json.loads(answer.stdout)
    assert (told["images"], told["left_out"].pop("not-in-spool")) == (1, 1)
    assert sum(told["left_out"].values()) == 1
    assert len(read_manifest(site.folder / "training")) == 1


def test_a_folder_that_holds_something_is_left_alone(site, judged) -> None:
    judged(1, "malignant", "DOE")
    folder: Path = site.folder / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    answer = site.secondread("truth", "export", folder)
    assert answer.returncode == 2
    assert "is there already" in answer.stderr
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_where_there_is_nothing_to_export_no_folder_is_left(site) -> None:
    site.analysed(1, 0.9)
    answer = site.secondread("truth", "export", site.folder / "training")
    assert answer.returncode == 2
    assert "nothing to export" in answer.stderr
    assert sorted(path.name for path in site.folder.iterdir()) == ["data"]


def test_only_its_owner_may_read_the_folder(site, judged) -> None:
    judged(1, "malignant", "DOE")
    site.secondread("truth", "export", site.folder / "training")
    assert (site.folder / "training").stat().st_mode & 0o077 == 0


def test_the_frame_that_was_scored_is_the_one_that_is_written(site, judged) -> None:
    """Of a cine the second frame."""
    judged(1, "malignant", "DOE")
    row = site.journal.judged_images()[0]
    path = Spool(site.settings.spool_dir).image_path(row.key)
    data_set = dcmread(path)
    second = data_set.pixel_array[::-1].copy()
    data_set.NumberOfFrames = 2
    data_set.PixelData += second.tobytes()
    data_set.SOPClassUID = UltrasoundMultiFrameImageStorage
    data_set.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    data_set.save_as(path)
    job = site.journal.ask_again(row.key, "cd" * 32) and site.journal.lease_analysis(row.key, 60)
    assert job
    again = replace(SCORED, frame=2, frames_scored=2, region=REGION)
    assert site.journal.record_outcome(job, again, {})
    assert site.secondread("truth", "export", site.folder / "training").returncode == 0
    left, top, right, bottom = REGION
    [image] = read_manifest(site.folder / "training")
    assert np.array_equal(image.pixels(), second[top:bottom, left:right])


def test_a_network_is_trained_on_what_was_exported(site, judged) -> None:
    """By the model maker's own command, once he has filled the column ``split``."""
    for study in range(12):
        judged(study, ("benign", "malignant")[study % 2], f"P{study}")
    folder, run = site.folder / "training", site.folder / "run"
    assert site.secondread("truth", "export", folder).returncode == 0
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for number, row in enumerate(rows):  # sorted by file: six benign, six malignant
        row["split"] = "train" if number % 2 else "validation"
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    command = [
        *(sys.executable, "-c", "from model_export.cli import main; main()", "train"),
        *("--data", str(folder), "--out", str(run), "--backbone", "alexnet"),
        *("--set", "stages=[[64,1]]", "--set", "batch_size=2", "--set", "precision=32-true"),
        *("--accelerator", "cpu", "--fact", "data=exported"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (run / "model.pt").is_file()
