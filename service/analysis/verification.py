"""Whether a model keeps the contract of the model package: names, shapes, probabilities, CAM."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.analysis.inference import (
    DISTANCE,
    INPUT,
    OUTPUTS,
    InferenceError,
    make_session,
    outputs_of,
)
from service.analysis.model_package import ModelPackage
from service.analysis.onnx_runtime import ort
from service.sections import AnalysisSettings

_TOLERANCE = 1e-4


def verify_model(package: ModelPackage, settings: AnalysisSettings) -> Iterator[str]:
    """Yield one sentence for each check that was passed.

    Raises InferenceError at the first that was not; the text says what the model does instead.
    """
    session = make_session(package, settings)
    yield f"loaded into ONNX Runtime {ort.__version__}, runs on {session.get_providers()[0]}"
    size = package.manifest.preprocessing.size
    wanted = outputs_of(package)
    _require_names(session, wanted)
    yield f"input {INPUT}, outputs {', '.join(wanted)}"
    images = np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32)
    probabilities, cam, cam_benign = _run(session, images)
    if probabilities.shape != (2, 2) or cam.ndim != 3 or cam.shape[0] != 2:
        raise InferenceError(
            f"for two images of {size} × {size} it answers probabilities {probabilities.shape} "
            f"and cam {cam.shape}, instead of (2, 2) and (2, h, w)"
        )
    if cam_benign.shape != cam.shape:
        raise InferenceError(f"cam is {cam.shape} and cam_benign {cam_benign.shape}")
    yield f"an image of {size} × {size} gives CAMs of {cam.shape[2]} × {cam.shape[1]}"
    total = probabilities.astype(np.float64).sum(axis=1)
    if probabilities.min() < 0 or not np.allclose(total, 1, rtol=0, atol=_TOLERANCE):
        raise InferenceError(f"its probabilities sum to {total.tolist()} instead of 1")
    yield "its probabilities sum to 1"
    if not np.isfinite([cam, cam_benign]).all() or min(cam.min(), cam_benign.min()) < 0:
        raise InferenceError("its CAMs have values that are negative or not finite")
    yield "its CAMs are finite and nowhere negative"
    if package.manifest.out_of_distribution is not None:
        _require_distances(session, images)
        yield "it tells each image's distance to the training images"
    alone, _, _ = _run(session, images[:1])
    if not np.allclose(alone[0], probabilities[0], rtol=0, atol=_TOLERANCE):
        raise InferenceError("an image gets another score alone than in a batch")
    yield "an image gets the same score alone and in a batch"


def _require_names(session: ort.InferenceSession, wanted: tuple[str, ...]) -> None:
    inputs = [node.name for node in session.get_inputs()]
    outputs = {node.name for node in session.get_outputs()}
    if inputs != [INPUT] or not outputs.issuperset(wanted):
        raise InferenceError(
            f"it has the inputs {inputs} and the outputs {sorted(outputs)}, instead of "
            f"{INPUT} and {', '.join(wanted)}"
        )


def _require_distances(session: ort.InferenceSession, images: NDArray[np.float32]) -> None:
    (distances,) = session.run([DISTANCE], {INPUT: images})
    if distances.shape != (len(images),) or not np.isfinite(distances).all():
        raise InferenceError(f"its distances have the shape {distances.shape}, or are not finite")


def _run(session: ort.InferenceSession, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The answers in the order of OUTPUTS."""
    try:
        return list(session.run(list(OUTPUTS), {INPUT: images}))
    except Exception as error:
        raise InferenceError(
            f"it cannot run on an input of shape {images.shape} ({type(error).__name__})"
        ) from error
