"""``secondread doctor`` says what is wrong, and what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.analysis.model_store import ModelStore
from service.config import Settings
from service.sections import REFERENCE_MODEL


@pytest.fixture
def doctor(tmp_path: Path):
    """``doctor(*lines)``: its findings by subject for such a configuration, and its exit code."""

    def run(*lines: str) -> tuple[dict[str, dict[str, object]], int]:
        config = tmp_path / "secondread.toml"
        config.write_text("\n".join([f'data_dir = "{tmp_path / "data"}"', *lines]))
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", "doctor", "--json", "--config", str(config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.stderr == ""
        return {each["subject"]: each for each in json.loads(done.stdout)}, done.returncode

    return run


def destination(port: int, ae_title: str = "ARCHIVE") -> str:
    return (
        f'[[destinations]]\nname = "pacs"\nhost = "127.0.0.1"\nport = {port}\n'
        f'ae_title = "{ae_title}"'
    )


def test_a_site_in_good_health(doctor, redis_server, local_archive) -> None:
    findings, code = doctor(f'broker.url = "{redis_server.url}"', destination(local_archive.port))
    assert code == 0
    for subject in ("disk", "broker", "clock", "model", "dciodvfy", "destination pacs"):
        assert findings[subject]["good"] is True, findings[subject]
    assert findings["journal"]["good"] is None, "the service has never run here"


def test_what_does_not_answer_is_named_with_advice(doctor, free_port) -> None:
    findings, code = doctor(
        f'broker.url = "redis://127.0.0.1:{free_port()}/0"', destination(free_port())
    )
    assert code == 1
    assert findings["broker"]["good"] is False
    assert "broker.url" in findings["broker"]["advice"]
    assert findings["destination pacs"]["good"] is False
    assert "AE title" in findings["destination pacs"]["advice"]


def test_without_a_pacs_results_go_nowhere(doctor) -> None:
    findings, code = doctor()
    assert code == 1
    assert findings["destinations"]["good"] is False
    assert findings["broker"]["good"] is None, "the embedded one runs with the service"


def test_a_web_server_that_is_not_there(doctor, free_port) -> None:
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    findings, code = doctor(f'[[destinations]]\nname = "web"\nurl = "{url}"')
    assert code == 1
    assert "nobody listens" in findings["destination web"]["found"]


def test_a_model_that_was_changed(doctor, tmp_path: Path) -> None:
    for file in REFERENCE_MODEL.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "model.onnx").open("ab") as model:
        model.write(b"\0")
    findings, code = doctor(f'analysis.model = "{tmp_path}"')
    assert code == 1
    assert findings["model"]["good"] is False
    assert "sha256" in findings["model"]["found"] or "digest" in findings["model"]["found"]


def test_the_active_model_is_looked_at_and_not_the_configured(
    doctor, small_model, tmp_path: Path
) -> None:
    store = ModelStore(Settings(data_dir=tmp_path / "data"))
    store.activate(store.install(small_model, lambda _: None).sha256)
    findings, _ = doctor('analysis.model = "/nowhere"')
    assert findings["model"]["good"] is True
    assert "undecided 1" in str(findings["model"]["found"])


def test_a_full_disk(doctor) -> None:
    findings, code = doctor("ingest.low_water_bytes = 1000000000000000")
    assert code == 1
    assert "low_water_bytes" in findings["disk"]["advice"]


def test_a_secret_that_everybody_can_read(doctor, tmp_path: Path) -> None:
    secret = tmp_path / "broker-url"
    secret.write_text("redis://127.0.0.1:1/0")
    secret.chmod(0o644)
    findings, code = doctor(f'broker.url_file = "{secret}"')
    assert code == 1
    assert "broker-url" in findings["configuration"]["found"]


def test_for_people_it_is_a_table(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "doctor"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "160"},
    )
    assert done.returncode == 1
    assert "what to do" in done.stdout
    assert "✗" in done.stdout
