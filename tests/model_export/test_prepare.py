"""``secondread-model prepare`` on real files with an invented clinical table."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model_export.dataset import read_manifest, refuse_shared_patients, select
from model_export.preparation.labelme import (
    rasterise,
    read_annotation,
)
from model_export.preparation.source import Frame, crop, read_frame
from service.analysis.decode import Decoder

Command = Callable[..., subprocess.CompletedProcess[str]]


SECONDARY_CAPTURE = "uta11_a661b03c_IM4.dcm"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def key_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_from_a_hospitals_files_to_a_training_folder(
    hospital: Any, tmp_path: Path, secondread_model: Command
) -> None:
    out, key = tmp_path / "out", tmp_path / "key.csv"
    answer = secondread_model(
        "prepare", hospital.images, "--clinical", hospital.clinical, "--out", out, "--key", key
    )
    assert answer.returncode == 0, answer.stderr
    images = read_manifest(out)
    # 34 files; the Secondary Capture is nothing that the service analyses.
    assert len(images) == 33
    assert Counter(image.label for image in images) == {0: 5 + 12, 1: 4 + 12}
    parts = {name: select(images, f"split={name}") for name in ("train", "validation", "test")}
    refuse_shared_patients(**parts)
    patients = {name: {image.patient for image in part} for name, part in parts.items()}
    everyone = set().union(*patients.values())
    assert len(patients["test"]) == round(0.3 * len(everyone))
    for image in images:
        pixels = image.pixels()
        assert pixels.shape == (int(image.columns["height"]), int(image.columns["width"]))
        with Image.open(image.path) as opened:
            assert opened.mode == "L"
            assert not opened.getexif()
    assert sum(image.mask_path is not None for image in images) == 24
    assert {image.columns["device"] for image in images} == {"Aplio", ""}

    # Nothing but the key leads back, and the key only where it was asked for.
    told = "".join((answer.stdout, answer.stderr)).replace(str(tmp_path), "")
    identifiers = [hospital.SECRET, "busbra", "bus_0", "uta4", "Anonymized"]
    identifiers += [row["sop_instance_uid"] for row in hospital.rows() if row["sop_instance_uid"]]
    for name, content in {**contents(out), "terminal": told.encode()}.items():
        for identifier in identifiers:
            assert identifier.encode() not in content, name
            assert identifier not in name
    rows = key_of(key)
    assert len(rows) == 34
    assert {row["outcome"] for row in rows} == {"included", "sop-class"}
    assert [row["file"] for row in rows if row["outcome"] == "sop-class"] == [
        f"dicom/{SECONDARY_CAPTURE}"
    ]
    back = {row["new_file"]: row for row in rows if row["new_file"]}
    assert back.keys() == {image.file for image in images}
    assert all(back[image.file]["new_patient_id"] == image.patient for image in images)
    assert key.stat().st_mode & 0o077 == 0
    assert "not analysable, sop class" in (out / "flow.md").read_text()
    assert "| sop-class | 1 | 1 | 1 | 33 |" in (out / "flow.md").read_text()
    assert "age, years" in (out / "table_one.csv").read_text()
    for name in ("flow.png", "flow.svg", "flow.csv", "table_one.md"):
        assert (out / name).stat().st_size > 100


def test_outlines_follow_their_image_into_the_crop(hospital: Any, tmp_path: Path) -> None:
    out, key = tmp_path / "out", tmp_path / "key.csv"
    hospital.prepare(out, key=key)
    new = {row["file"]: row["new_file"] for row in key_of(key)}
    images = {image.file: image for image in read_manifest(out)}
    cropped = 0
    with Decoder(30, 1024) as decoder:
        for name, lesion in hospital.outlines.items():
            image = images[new[name]]
            frame = read_frame(decoder, hospital.images / name, 1, hospital.SETTINGS.coloured_share)
            assert isinstance(frame, Frame)
            (box,) = frame.boxes
            annotation = read_annotation(image.path.with_suffix(".json"))
            assert annotation.image_path == image.path.name
            assert (annotation.height, annotation.width) == (box.height, box.width)
            assert annotation.flags == {"calipers": True}
            (shape,) = annotation.shapes
            assert shape.points[0] == (lesion.left - box.left, lesion.top - box.top)
            label = image.columns["label"]
            assert np.array_equal(image.mask() * 255, rasterise(annotation, label))  # type: ignore[arg-type]
            # Inside the outline it is the same tissue as before, but for the JPEG.
            whole = frame.pixels[lesion.top : lesion.bottom, lesion.left : lesion.right, 0]
            inside = image.pixels()[image.mask() > 0]
            assert abs(float(inside.mean()) - float(whole.mean())) < 6
            cropped += (box.height, box.width) != frame.pixels.shape[:2]
    assert cropped > 0, "no picture was cropped, so nothing was shifted"


def test_what_is_left_out_and_why(hospital: Any, tmp_path: Path) -> None:
    names = [row["file"] for row in hospital.rows() if row["file"]]
    rows = hospital.rows()
    by_name = {row["file"]: row for row in rows if row["file"]}
    expected = {}

    def expect(reason: str, number: int) -> dict[str, str]:
        expected[names[number]] = reason
        return by_name[names[number]]

    rows.remove(expect("no-clinical-row", 0))
    # Both images of a lesion have one category; so these two go together.
    for number in (2, 3):
        expect("birads-not-included", number)["BI-RADS"] = "5"
    for number in (4, 5):
        expect("no-definite-pathology", number)["pathology"] = "pending"
    other, foremost = expect("other-lesion", 6), by_name[names[7]]
    other["lesion_id"], other["BI-RADS"], foremost["BI-RADS"] = "second", "3", "4C"
    expect("unreadable-outline", 8)
    (hospital.images / names[8]).with_suffix(".json").write_text("{}")
    expect("unreadable", 9)
    (hospital.images / names[9]).write_bytes(b"no picture")
    expect("picture-of-two-patients", 10)
    expect("picture-of-two-patients", 12)
    for ending in (".jpg", ".json"):
        shutil.copy(
            (hospital.images / names[10]).with_suffix(ending),
            (hospital.images / names[12]).with_suffix(ending),
        )
    rewrite = by_name[names[12]], by_name[names[13]]
    for row in rewrite:
        row["pathology"] = "benign"
    expect("outline-of-other-label", 13)
    hospital.write(rows)
    key = tmp_path / "key.csv"
    prepared = hospital.prepare(tmp_path / "out", key=key)
    outcomes = {row["file"]: row["outcome"] for row in key_of(key)}
    left_out = {file: reason for file, reason in outcomes.items() if reason != "included"}
    assert left_out == expected | {f"dicom/{SECONDARY_CAPTURE}": "sop-class"}
    assert {row[1] for row in prepared.flow.rows} - {""} == set(left_out.values())


def test_the_same_input_and_seed_give_the_same_folder(hospital: Any, tmp_path: Path) -> None:
    hospital.prepare(tmp_path / "one")
    hospital.write(hospital.rows()[::-1])  # the order of the table's rows does not matter
    hospital.prepare(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    hospital.prepare(tmp_path / "three", seed=2)
    assert (
        contents(tmp_path / "one")["manifest.csv"] != contents(tmp_path / "three")["manifest.csv"]
    )


def test_the_tables_own_split_is_taken(hospital: Any, tmp_path: Path) -> None:
    rows = hospital.rows()
    test = {row["patient_id"] for row in rows[::5]}
    for row in rows:
        row["split"] = "test" if row["patient_id"] in test else "train"
    hospital.write(rows)
    key = tmp_path / "key.csv"
    hospital.prepare(tmp_path / "out", key=key)
    names = {row["new_patient_id"]: row["patient_id"] for row in key_of(key)}
    for image in read_manifest(tmp_path / "out"):
        assert (image.columns["split"] == "test") == (names[image.patient] in test)


def test_a_split_with_a_patient_on_both_sides_is_refused(
    hospital: Any, tmp_path: Path, secondread_model: Command
) -> None:
    rows = hospital.rows()
    for row in rows:
        row["split"] = "train"
    rows[-1]["split"] = "test"
    hospital.write(rows)
    answer = secondread_model(
        "prepare", hospital.images, "--clinical", hospital.clinical, "--out", tmp_path / "out"
    )
    assert answer.returncode == 1
    assert "1 patient stands on both sides of the split" in answer.stderr
    assert hospital.SECRET not in answer.stderr
    assert not (tmp_path / "out").exists()
    rows[-1]["split"] = ""
    hospital.write(rows)
    with pytest.raises(ValueError, match="gives 1 images of the study no split"):
        hospital.prepare(tmp_path / "out")


def test_places_where_nothing_is_written(hospital: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refused(words: str, out: Path = out, **changes: object) -> None:
        with pytest.raises(ValueError, match=words):
            hospital.prepare(out, **changes)

    refused("key must not lie in the training folder", key=out / "key.csv")
    refused("key must not lie", key=tmp_path / "elsewhere" / ".." / "out" / "key.csv")
    refused("must not lie in each other", out=hospital.images / "out")
    refused("must not lie in each other", out=tmp_path)
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    refused("is not empty")
    refused("is not a folder that `prepare` wrote", force=True)
    assert (out / "precious.txt").read_text() == "mine"
    (tmp_path / "key.csv").write_text("old")
    refused("exists: --force", out=tmp_path / "new", key=tmp_path / "key.csv")
    assert not (tmp_path / "new").exists()


def test_force_replaces_what_prepare_wrote(hospital: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()  # an empty folder is no hindrance
    hospital.prepare(out)
    (out / "left_over.txt").write_text("x")
    hospital.prepare(out, force=True)
    assert not (out / "left_over.txt").exists()
    assert len(read_manifest(out)) == 33
    assert not list(tmp_path.glob(".out*"))


def test_an_interruption_leaves_nothing(hospital: Any, tmp_path: Path) -> None:
    def interrupted(files: Sequence[str], doing: str) -> Iterable[str]:
        if doing == "decoding":
            yield from files[:3]
            raise KeyboardInterrupt
        yield from files

    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        hospital.prepare(tmp_path / "out", interrupted, key=tmp_path / "key.csv")
    assert sorted(tmp_path.iterdir()) == before


def test_a_kill_leaves_no_folder_that_looks_whole(
    hospital: Any, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    out = tmp_path / "out"
    code = "from model_export.cli import main; main()"
    command = [sys.executable, "-c", code, "prepare", hospital.images]
    arguments = [*map(str, command), "--clinical", str(hospital.clinical), "--out", str(out)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: list(tmp_path.glob(".out.*/staging/*.jpg")), 120)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not out.exists()
    hospital.prepare(out)
    assert len(read_manifest(out)) == 33


def test_where_nothing_is_left_the_reasons_are_told(hospital: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no image is left of 34 \(birads-not-included: 34\)"):
        hospital.prepare(tmp_path / "out", birads=("6",))
    assert not (tmp_path / "out").exists()


def test_the_pixels_that_are_encoded(
    hospital: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reaches JPEG is the crop itself: tests/analysis/test_preparation_parity.py says that
    the crop is the service's."""
    from model_export.preparation import writing

    encoded: list[np.ndarray] = []
    save = writing.save_jpeg

    def recording(pixels: np.ndarray, path: Path, quality: int) -> None:
        encoded.append(pixels.copy())
        save(pixels, path, quality)

    monkeypatch.setattr(writing, "save_jpeg", recording)
    hospital.prepare(tmp_path / "out")
    expected = []
    with Decoder(30, 1024) as decoder:
        for file in sorted(hospital.images.rglob("*.*")):
            if file.suffix in (".dcm", ".jpg") and file.name != SECONDARY_CAPTURE:
                frame = read_frame(decoder, file, 1, hospital.SETTINGS.coloured_share)
                assert isinstance(frame, Frame)
                picture = crop(frame, None, "benign")
                assert not isinstance(picture, str)
                expected.append(picture.pixels)
    assert len(encoded) == len(expected) == 33
    for one, other in zip(encoded, expected, strict=True):
        assert np.array_equal(one, other)


def test_help_names_the_columns_and_their_aliases(secondread_model: Command) -> None:
    answer = secondread_model("prepare", "--help")
    assert answer.returncode == 0
    told = " ".join(answer.stdout.split())
    for word in ("sop_instance_uid", "histology", "laterality", "--key", "--test-share"):
        assert word in told


def test_a_wrong_call_is_exit_code_2(tmp_path: Path, secondread_model: Command) -> None:
    answer = secondread_model(
        *("prepare", tmp_path / "gone", "--clinical", tmp_path / "c", "--out", tmp_path)
    )
    assert answer.returncode == 2


def test_labelme_of_the_output_opens_as_labelme_writes_it(hospital: Any, tmp_path: Path) -> None:
    hospital.prepare(tmp_path / "out")
    file = next((tmp_path / "out" / "malignant").glob("*.json"))
    content = json.loads(file.read_text())
    assert content.keys() == {
        *("version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth")
    }
    assert content["shapes"][0]["label"] == "malignant"
    assert content["imageData"] is None
    assert (file.parent / content["imagePath"]).is_file()
