"""A real Triton Inference Server. Of its back ends there is the Python one, so ONNX Runtime runs
inside that: ``triton_model.py``. All else is as a site has it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from service.analysis.triton_repository import CONFIG_FILE, VERSION
from tests.conftest import REPOSITORY, ServerProcess, _free_port

_WHEEL = REPOSITORY / "build" / "triton"
_HERE = _WHEEL / "pytriton" / "tritonserver"


class Triton(ServerProcess):
    """Serves the models of ``repository`` at ``url``."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        if not _HERE.is_dir():
            if sys.platform != "linux" or os.uname().machine != "x86_64":
                pytest.skip("Triton is to be had for Linux on x86-64 alone")
            pytest.fail("Triton is not in build/triton; `make test` puts it there")
        self.repository = folder / "models"
        self.repository.mkdir(parents=True)
        port = _free_port()
        self.url = f"grpc://127.0.0.1:{port}"
        backends = _backends(folder)
        libraries = (_WHEEL / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR"))
        server = _HERE / "bin" / "tritonserver"
        server.chmod(0o755)
        command = [
            *("env", f"LD_LIBRARY_PATH={':'.join(map(str, libraries))}"),
            *(f"PYTHONHOME={sys.base_prefix}", str(server)),
            *("--model-repository", str(self.repository), "--backend-directory", str(backends)),
            *("--grpc-address", "127.0.0.1", "--grpc-port", str(port)),
            *("--allow-http", "false", "--allow-metrics", "false"),
            *("--exit-on-error", "false", *map(str, arguments)),
        ]
        super().__init__(command, port, folder)

    def kill(self) -> None:
        """With its Python back end, which would outlive it."""
        super().kill()
        subprocess.run(["pkill", "-KILL", "-f", f"{self._folder}/backends/"], check=False)

    def adapt(self, model: Path) -> None:
        """Let a model that ``write_model`` wrote run by the Python back end."""
        config = model / CONFIG_FILE
        text = config.read_text().replace('backend: "onnxruntime"', 'backend: "python"')
        config.write_text(
            text.replace('default_model_filename: "model.onnx"', "")
            + f'parameters {{ key: "packages" value {{ string_value: "{_packages()}" }} }}\n'
        )
        shutil.copy(Path(__file__).with_name("triton_model.py"), model / VERSION / "model.py")


def _backends(folder: Path) -> Path:
    """Python's, with the stub for this Python."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = _HERE / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        pytest.skip(f"this Triton has no stub for Python {version}")
    copy = shutil.copytree(_HERE / "backends", folder / "backends") / "python" / stub.name
    shutil.copy(stub, copy)
    copy.chmod(0o755)
    return folder / "backends"


def _packages() -> str:
    return sysconfig.get_path("purelib")
