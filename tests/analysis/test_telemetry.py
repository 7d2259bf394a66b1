"""Nothing of what runs here is told to anybody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["inference", "verification", "process"])
def test_onnx_runtime_starts_without_telemetry(module: str, tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    # It suppresses telemetry by itself under CI, so that the environment is made anew here.
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"import service.analysis.{module}, sys; sys.modules['onnxruntime']",
        ],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(temporary)},
        check=True,
        timeout=60,
    )
    left = [path for folder in (home, temporary) for path in folder.rglob("*") if path.is_file()]
    assert left == [], "its device identifier, or its session"
