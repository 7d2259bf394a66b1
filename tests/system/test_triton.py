"""The whole service with a Triton server in place of its own ONNX Runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from service.analysis.model_package import load_model_package
from service.analysis.triton_repository import write_model
from service.journal.records import ImageState
from service.scu import send_files
from tests.conftest import running
from tests.triton import Triton

SECONDS = 120
BREAST = "breast/uta7_Anonymized3_US000000.dcm"


def server_of(model: Path, folder: Path) -> Triton:
    """A server, not started yet, that has the model package."""
    server = Triton(folder)
    written, _ = write_model(load_model_package(model), server.repository, 8)
    server.adapt(written)
    return server


def test_an_outage_of_the_server_costs_no_image(
    up, small_model, us_dicom, copy_of, tmp_path, eventually
) -> None:
    """It begins before the service does, and comes again in mid-stream; no try may be lost."""
    server = server_of(small_model, tmp_path)
    service = up(
        small_model,
        extra=(
            f'analysis.triton.url = "{server.url}"',
            "retry.analysis_attempts = 1",
            "retry.first_seconds = 0.5",
            "keeper.interval = 0.5",
        ),
    )

    def send() -> Path:
        image = copy_of(us_dicom / BREAST)
        send_files([image], service.peer, "SCANNER")
        return image

    def says(up: float) -> bool:
        with suppress(OSError):
            sample = f'secondread_triton_up{{server="{server.url}"}} {up}'
            return sample in service.metrics("analysis")
        return False

    service.start()
    eventually(lambda: says(0.0), SECONDS)
    assert not service.works("analysis")
    first = send()
    eventually(lambda: (service.row(first).last_error or "").startswith("Triton at"), SECONDS)
    row = service.row(first)
    assert (row.state, row.attempts) == (ImageState.RECEIVED, 0)
    with running(server):
        eventually(lambda: service.row(first).outcome, SECONDS)
        eventually(lambda: service.works("analysis"), SECONDS)
        assert says(1.0)
        assert "secondread_model{" in service.metrics("analysis")
        assert 'provider="Triton"' in service.metrics("analysis")
        server.kill()
        eventually(lambda: says(0.0), SECONDS)
        second = send()
        server.start()
        eventually(lambda: service.row(second).outcome, SECONDS)
    for image in (first, second):
        assert service.row(image).state is ImageState.ANALYSED


def test_analyse_says_what_is_wrong_in_one_line(small_model, us_dicom, tmp_path) -> None:
    server = server_of(small_model, tmp_path)

    def analyse() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "service.cli", "analyse", "--json"),
                *("--model", str(small_model), str(us_dicom / BREAST)),
            ],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "SECONDREAD_ANALYSIS__TRITON__URL": server.url},
        )

    away = analyse()
    assert away.returncode == 2
    assert away.stderr.strip().splitlines()[-1].startswith(f"error: Triton at {server.url}")
    assert "Traceback" not in away.stderr
    with running(server):
        told = analyse()
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["probability_malignant"] == 0.5
