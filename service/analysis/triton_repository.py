"""A model package as a model of a Triton Inference Server's model repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.analysis.inference import INPUT, make_session, outputs_of
from service.analysis.model_package import MODEL_FILE, Manifest, ModelPackage, file_sha256
from service.sections import AnalysisSettings

CONFIG_FILE = "config.pbtxt"
VERSION = "1"
SHA256 = "sha256"
"""The parameter of Triton's model configuration that holds the digest of ``model.onnx``."""

_DIGITS = 16


def model_name(manifest: Manifest) -> str:
    """By which Triton knows the model. It has the digest in it, so that each request says which
    model it wants."""
    return f"secondread-{manifest.sha256[:_DIGITS]}"


def write_model(package: ModelPackage, repository: Path, batch: int) -> tuple[Path, bool]:
    """Write the package's model into a model repository, beside what is there.

    batch: images that Triton scores in one run, at most.
    Returns the model's folder, and False if it was there already, as it is to be.
    Raises InferenceError if the model cannot be loaded; OSError.
    """
    folder = repository / model_name(package.manifest)
    config = model_config(package, batch)
    if _is_written(folder, config, package.manifest.sha256):
        return folder, False
    repository.mkdir(parents=True, exist_ok=True)
    version = folder / VERSION
    version.mkdir(parents=True, exist_ok=True)
    # Others' rights: Triton is another user, often in a container. A model is no secret.
    for made in (folder, version):
        made.chmod(0o755)
    _put(version / MODEL_FILE, package.model_path.read_bytes())
    # Last: without it Triton does not take the folder for a model.
    _put(folder / CONFIG_FILE, config.encode())
    return folder, True


def model_config(package: ModelPackage, batch: int) -> str:
    """``config.pbtxt``. Raises InferenceError."""
    cpu = AnalysisSettings(providers=("CPUExecutionProvider",))
    session = make_session(package, cpu)
    shapes = {node.name: node.shape for node in (*session.get_inputs(), *session.get_outputs())}
    manifest = package.manifest
    outputs = "\n".join(_tensor("output", name, shapes[name]) for name in outputs_of(package))
    return f"""# {manifest.name} {manifest.version}, written by `secondread model triton`.
name: "{model_name(manifest)}"
backend: "onnxruntime"
default_model_filename: "{MODEL_FILE}"
max_batch_size: {batch}
{_tensor("input", INPUT, shapes[INPUT])}
{outputs}
dynamic_batching {{ }}
parameters {{ key: "{SHA256}" value {{ string_value: "{manifest.sha256}" }} }}
"""


def _tensor(kind: str, name: str, shape: Sequence[int | str | None]) -> str:
    """Without its first axis, that of the images. What has no other is reshaped, as Triton wants
    it."""
    sizes = [str(size if isinstance(size, int) else -1) for size in shape[1:]]
    dims = f"dims: [ {', '.join(sizes)} ]" if sizes else "dims: [ 1 ] reshape { shape: [ ] }"
    return f'{kind} {{ name: "{name}" data_type: TYPE_FP32 {dims} }}'


def _is_written(folder: Path, config: str, sha256: str) -> bool:
    try:
        same = (folder / CONFIG_FILE).read_text(encoding="utf-8") == config
        return same and file_sha256(folder / VERSION / MODEL_FILE) == sha256
    except OSError:
        return False


def _put(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.chmod(0o644)
    temporary.replace(path)
