"""``secondread demo`` and ``make demo``: what a newcomer sees first, and what is left of it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from service.demo import packaged_ultrasound

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 200
RUNTIME_MEGABYTES = 450


class Demo:
    """A demonstration as a process of its own, with a folder of its own for temporary files."""

    def __init__(self, command: list[str], scratch: Path, cwd: Path) -> None:
        self.temporary = scratch / "temporary"
        self.temporary.mkdir()
        self.said = scratch / "said"
        # A make that runs these tests passes its own arguments on.
        ours = ("MAKE", "SECONDREAD_")
        outside = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**outside, "TMPDIR": str(self.temporary), "COLUMNS": "250"},
            )

    def text(self) -> str:
        return self.said.read_text()

    def stays_up(self) -> bool:
        assert self.process.poll() is None, self.text()
        return "It stays up" in self.text()

    def wait(self) -> int:
        return self.process.wait(SECONDS)

    def processes(self) -> list[int]:
        """It and all that it has started, also what has lost its parent since."""
        mark = f"TMPDIR={self.temporary}\0".encode()
        return [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/environ")
            if mark in _read(path)
        ]

    def port(self) -> int:
        (line,) = [
            line for line in self.text().splitlines() if line.startswith("SecondRead listens")
        ]
        return int(line.rpartition(":")[2])

    def assert_nothing_is_left(self) -> None:
        assert self.processes() == []
        assert list(self.temporary.iterdir()) == []
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", self.port())) != 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.fixture
def demo(tmp_path):
    """``demo(*arguments)``: ``secondread demo`` with ``tmp_path / "out"`` for its results."""
    started = []

    def start(*arguments: object) -> Demo:
        command = [sys.executable, "-m", "service.cli", "demo", "--out", str(tmp_path / "out")]
        started.append(Demo([*command, *map(str, arguments)], tmp_path, REPOSITORY))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.wait(10)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


def speckle(seed: int) -> Image.Image:
    grey = np.random.default_rng(seed).integers(30, 160, (240, 320), dtype=np.uint8)
    return Image.fromarray(grey)


def line_of(name: str, text: str) -> str:
    """The first line of a file's row in the table."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"│ {name} ")]
    return line


def test_once_shows_every_file_with_its_results_and_leaves_nothing(demo, dcmtk, tmp_path) -> None:
    running = demo("--once")
    assert running.wait() == 0, running.text()
    running.assert_nothing_is_left()
    files = packaged_ultrasound()
    assert len(files) >= 5
    results = 0
    for path in files:
        line = line_of(path.name, running.text())
        suffixes = [".sr.dcm"]
        if "not analysed" not in line:
            assert "analysed: " in line
            assert "%" in line
            suffixes += [".sc.dcm", ".png"]
        for suffix in suffixes:
            result = tmp_path / "out" / (path.stem + suffix)
            assert result.name in running.text()
            if suffix == ".png":
                with Image.open(result) as picture:
                    picture.load()
                continue
            results += 1
            assert (
                pydicom.dcmread(result).StudyInstanceUID == pydicom.dcmread(path).StudyInstanceUID
            )
            verdict = dcmtk("dciodvfy", "-new", result).stdout.splitlines()
            assert verdict, "dciodvfy said nothing"
            assert [line for line in verdict if line.startswith("Error")] == []
    (summaries,) = re.findall(r"^(\d+) study summaries arrived", running.text(), re.MULTILINE)
    studies = {
        str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in files
    }
    assert int(summaries) == len(studies)
    assert len(list((tmp_path / "out" / "pacs").iterdir())) == results + len(studies)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_until_it_is_told_to_end(demo, eventually, number) -> None:
    running = demo(get_testdata_file("examples_palette.dcm"))
    eventually(running.stays_up, SECONDS)
    assert len(running.processes()) > 5
    running.process.send_signal(number)
    assert running.wait() == 0, running.text()
    running.assert_nothing_is_left()
    assert "Traceback" not in running.text()


def test_ctrl_c_during_the_start_leaves_nothing(demo, eventually) -> None:
    running = demo("--once")
    eventually(lambda: len(running.processes()) > 4, SECONDS)
    running.process.send_signal(signal.SIGINT)
    assert running.wait() != 0
    assert running.processes() == []
    assert list(running.temporary.iterdir()) == []
    assert "Traceback" not in running.text()


def test_a_folder_of_pictures_and_other_files(demo, folder, tmp_path) -> None:
    speckle(1).save(folder / "breast.png")
    speckle(2).save(folder / "breast.jpg", quality=95)
    (folder / "notes.txt").write_text("no picture")
    running = demo("--once", folder)
    assert running.wait() == 1, running.text()
    running.assert_nothing_is_left()
    assert "not stored: neither DICOM nor a picture" in line_of("notes.txt", running.text())
    for name in ("breast.png", "breast.jpg"):
        assert "analysed: " in line_of(name, running.text())
        assert "%" in line_of(name, running.text())
    assert "1 of 3 files have no complete result" in running.text()
    suffixes = (".sr.dcm", ".sc.dcm", ".png")
    names = {f"{stem}{suffix}" for stem in ("breast", "breast-2") for suffix in suffixes}
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_file()} >= names


def test_files_of_one_sop_instance_uid_are_told_apart(demo, folder, us_dicom, tmp_path) -> None:
    names = ("OBXXXX1A_expb", "OBXXXX1A_rle_2frame")
    for name in names:
        shutil.copy(us_dicom / "other" / f"pydicom-data__{name}.dcm", folder / f"{name}.dcm")
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    assert len({header.SOPInstanceUID for header in headers}) == 1
    running = demo("--once", folder)
    assert running.wait() == 0, running.text()
    reports = [pydicom.dcmread(tmp_path / "out" / f"{name}.sr.dcm") for name in names]
    assert len({report.SOPInstanceUID for report in reports}) == 2


def test_an_image_that_no_report_can_refer_to_is_no_missing_result(demo, folder) -> None:
    image = pydicom.dcmread(get_testdata_file("examples_palette.dcm"))
    del image.StudyInstanceUID
    image.save_as(folder / "lacking.dcm")
    running = demo("--once", folder)
    assert running.wait() == 0, running.text()
    assert "not analysed: The header lacks a valid UID" in line_of("lacking.dcm", running.text())


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "absent"])
def test_a_folder_without_files_is_a_mistake_in_the_arguments(demo, folder, exists) -> None:
    if not exists:
        folder.rmdir()
    running = demo("--once", folder)
    assert running.wait() == 2
    assert ("there are no files in" if exists else "does not exist") in running.text()


def test_the_folder_for_results_must_not_hold_other_files(demo, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years")
    running = demo("--once")
    assert running.wait() == 2
    assert "holds files that are not the demo's" in running.text()
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years"


def test_a_failed_association_is_one_line(tmp_path, free_port) -> None:
    to_nobody = (
        "from service import demo, scu\n"
        f"demo.Demonstration.scanner_target = scu.Peer('127.0.0.1', {free_port()}, 'NOBODY')\n"
        "from service.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", to_nobody, "demo", "--once", "--out", str(tmp_path / "out")]
    running = Demo(command, tmp_path, REPOSITORY)
    assert running.wait() == 1
    assert "secondread: no connection to NOBODY at 127.0.0.1:" in running.text()
    assert "Traceback" not in running.text()
    assert running.processes() == []


@pytest.mark.timeout(600)
def test_make_demo_from_a_fresh_clone(tmp_path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, timeout=30
    )
    clone = tmp_path / "clone"
    for name in filter(None, listed.stdout.decode().split("\0")):
        target = clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, target)
    running = Demo(["make", "demo", "ONCE=1", f"PYTHON={sys.executable}"], tmp_path, clone)
    assert running.process.wait(570) == 0, running.text()
    running.assert_nothing_is_left()
    for path in packaged_ultrasound():
        assert "analysed: " in line_of(path.name, running.text())
    assert list((clone / "build" / "demo").glob("*.png"))
    sizes = subprocess.run(
        ["du", "-sm", clone / ".venv"], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(sizes.stdout.split()[0]) <= RUNTIME_MEGABYTES
    assert not list((clone / ".venv").glob("lib*/python*/site-packages/torch*"))
    shutil.rmtree(clone)  # pytest would keep the environment
