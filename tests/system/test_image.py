"""The container image's steps, without an engine: what the Dockerfile installs works by itself.

All other tests run the source as it lies here; only here is the package installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from service.programs import PORT_KEYS
from tests.conftest import REPOSITORY, _answers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SECONDS = 280
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
CARRIED = ("dicom_sr", "model_export", "service")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stage ``source`` copies."""
    folder = tmp_path_factory.mktemp("src")
    for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE):
        *names, _ = line.split()
        for name in names:
            path = REPOSITORY / name
            if path.is_dir():
                shutil.copytree(path, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin`` of a fresh environment with what pip installs for the target ``cpu``."""
    environment = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    (wanted,) = re.findall(r"pip install '/src(\[cpu,[\w,]+\])'", DOCKERFILE)
    subprocess.run(
        [environment / "bin" / "pip", "install", "--quiet", f"{source}{wanted}"],
        check=True,
        timeout=SECONDS,
    )
    return environment / "bin"


@pytest.fixture
def run(installed: Path, tmp_path: Path):
    """``run(program, *arguments)`` in an empty folder, with nothing of this repository."""

    def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [installed / program, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,
            env={"PATH": f"{installed}:/usr/bin:/bin", "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        )

    return run


def site_packages(installed: Path) -> Path:
    (found,) = installed.parent.glob("lib/python3*/site-packages")
    return found


def test_each_file_of_the_packages_is_installed(installed: Path) -> None:
    """Templates, styles, translations, tables, the model: what is no module is easily forgotten."""
    tracked = subprocess.run(
        ["git", "ls-files", *CARRIED], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"service/web/chinese.json", "model_export/reference/model.onnx"} <= set(tracked)
    missing = [name for name in tracked if not (site_packages(installed) / name).is_file()]
    assert missing == []


def test_it_has_no_torch(installed: Path) -> None:
    names = {path.name.lower() for path in site_packages(installed).iterdir()}
    assert not [name for name in names if "torch" in name]
    assert "onnxruntime" in names
    assert "psycopg_binary" in names


def test_it_starts_and_examines_itself(run) -> None:
    assert re.fullmatch(r"secondread \d+\.\d+\.\d+\n", run("secondread", "--version").stdout)
    answer = run("secondread", "doctor", "--json")
    findings = {each["subject"]: each for each in json.loads(answer.stdout)}
    assert findings["model"]["good"] is True, findings["model"]
    assert findings["disk"]["good"] is True
    assert [name for name, each in findings.items() if each["good"] is False] == ["destinations"]


def test_it_analyses_a_real_image(run, us_dicom: Path, tmp_path: Path) -> None:
    image = us_dicom / "breast" / "uta4_p1_d045f565_IM128.dcm"
    answer = run("secondread", "analyse", image, "--json", "--out", tmp_path / "out")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["outcome"] == "analysed"
    assert {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()} >= {".dcm"}


def test_it_runs_and_shows_its_page(
    installed: Path, free_port: Callable[[], int], eventually: Callable[..., None], tmp_path: Path
) -> None:
    """Everything of `secondread up`, in English and Chinese, with its styles."""
    keys = ("INGEST__PORT", "BROKER__EMBEDDED_PORT", "WEB__PORT")
    keys += tuple(f"MONITORING__{key.upper()}" for key in PORT_KEYS.values())
    ports = {f"SECONDREAD_{key}": str(free_port()) for key in keys}
    environment = {"PATH": "/usr/bin:/bin", "SECONDREAD_DATA_DIR": str(tmp_path / "data"), **ports}

    def healthy() -> bool:
        command = [installed / "python", "-m", "service.healthcheck"]
        done = subprocess.run(command, env=environment, cwd=tmp_path, check=False)
        return done.returncode == 0

    def get(path: str, language: str = "en") -> str:
        url = f"http://127.0.0.1:{ports['SECONDREAD_WEB__PORT']}{path}"
        request = urllib.request.Request(url, headers={"Accept-Language": language})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    service = subprocess.Popen([installed / "secondread", "up"], env=environment, cwd=tmp_path)
    try:
        eventually(lambda: all_listen(ports.values()) and healthy(), 120)
        page = get("/login")
        assert "Research use only" in page
        assert "仅供研究" in get("/login", "zh")
        links = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
        assert links
        assert all(get(link) for link in links)
        service.terminate()
        service.wait(60)
    finally:
        service.kill()
        service.wait(10)


def all_listen(ports: Iterable[str]) -> bool:
    return all(_answers(int(port)) for port in ports)


def test_its_health_check_runs(run) -> None:
    answer = run("python", "-m", "service.healthcheck")
    assert (answer.returncode, answer.stdout) == (1, "nothing listens\n")


def test_its_bill_of_materials_names_what_is_installed(installed: Path, tmp_path: Path) -> None:
    """By the command of `make sbom`."""
    chore = re.search(r"bin/cyclonedx-py (environment .*?)\$\(RUNTIME\)", makefile(), re.DOTALL)[1]
    arguments = chore.replace("\\\n", " ").split()
    out = tmp_path / "sbom.json"
    arguments[arguments.index("build/sbom.json")] = str(out)
    subprocess.run(
        [Path(sys.executable).with_name("cyclonedx-py"), *arguments, installed / "python"],
        check=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": ""},
    )
    bill = json.loads(out.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    named = {re.sub("[-_.]+", "-", each["name"]).lower() for each in bill["components"]}
    present = {
        re.sub("[-_.]+", "-", path.name.split("-")[0]).lower()
        for path in site_packages(installed).glob("*.dist-info")
    }
    assert present - named - {"secondread"} == set()
    assert bill["metadata"]["component"]["name"] == "secondread"


def makefile() -> str:
    return (REPOSITORY / "Makefile").read_text()
