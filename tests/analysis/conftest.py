"""A model package that is small, quick and deterministic, with an answer that tests can predict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pydicom import Dataset

from service.analysis.analyser import Analyser
from service.analysis.decode import Decoder
from service.analysis.model_package import (
    MANIFEST_FILE,
    MODEL_FILE,
    Manifest,
    ManifestOperatingPoint,
    ModelPackage,
    OutOfDistribution,
    file_sha256,
    load_model_package,
)
from service.analysis.preprocessing import Preprocessing
from service.sections import AnalysisSettings
from service.still_image import wrap_pixels

SIZE = 64


def brightness_model() -> onnx.ModelProto:
    """The brighter the image, the more malignant; the CAM is the brightness in a 4 × 4 grid,
    the benign CAM the darkness.

    With ImageNet's normalisation a black image has about −2 and a white one +2.4, which are the
    two logits' difference: 0.12 malignant for black, 0.91 for white.
    """
    nodes = [
        helper.make_node("ReduceMean", ["image", "channels"], ["grey"], keepdims=1),
        helper.make_node(
            "AveragePool", ["grey"], ["grid"], kernel_shape=[16, 16], strides=[16, 16]
        ),
        helper.make_node("GlobalAveragePool", ["grid"], ["mean"]),
        helper.make_node("Reshape", ["mean", "columns"], ["malignant"]),
        helper.make_node("Neg", ["malignant"], ["zero_sum"]),
        helper.make_node("Add", ["malignant", "zero_sum"], ["benign"]),
        helper.make_node("Concat", ["benign", "malignant"], ["logits"], axis=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("Add", ["grid", "offset"], ["lifted"]),
        helper.make_node("Relu", ["lifted"], ["positive"]),
        helper.make_node("Squeeze", ["positive", "channels"], ["cam"]),
        helper.make_node("Sub", ["full", "cam"], ["cam_benign"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2]),
            helper.make_tensor_value_info("cam", TensorProto.FLOAT, ["N", 4, 4]),
            helper.make_tensor_value_info("cam_benign", TensorProto.FLOAT, ["N", 4, 4]),
        ],
        [
            numpy_helper.from_array(np.array([1], dtype=np.int64), "channels"),
            numpy_helper.from_array(np.array([-1, 1], dtype=np.int64), "columns"),
            numpy_helper.from_array(np.array(2.1, dtype=np.float32), "offset"),
            numpy_helper.from_array(np.array(5.0, dtype=np.float32), "full"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _gated_model() -> onnx.ModelProto:
    """The same with the darkness of the image as its distance: 0 for white, 255 for black."""
    model = brightness_model()
    graph = model.graph
    graph.node.extend(
        [
            helper.make_node("Squeeze", ["mean", "last_axes"], ["brightness"]),
            helper.make_node("Mul", ["brightness", "minus_std"], ["scaled"]),
            helper.make_node("Add", ["scaled", "white"], ["distance"]),
        ]
    )
    std, mean = 0.226, 0.449  # averages of ImageNet's three channels
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([1, 2, 3], dtype=np.int64), "last_axes"),
            numpy_helper.from_array(np.array(-255 * std, dtype=np.float32), "minus_std"),
            numpy_helper.from_array(np.array(255 * (1 - mean), dtype=np.float32), "white"),
        ]
    )
    graph.output.append(helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["N"]))
    return model


GATE = OutOfDistribution(limit=200.0, method="darkness", rule="tests")
POINTS = (
    ManifestOperatingPoint(
        name="sensitive", threshold=0.3, rule="low", sensitivity=1, specificity=0.5
    ),
    ManifestOperatingPoint(
        name="youden", threshold=0.6, rule="high", sensitivity=0.8, specificity=0.9
    ),
)


def write_package(folder: Path, model: onnx.ModelProto, **changes: Any) -> ModelPackage:
    """``model`` as a package with a manifest that describes it."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / MODEL_FILE)
    manifest = Manifest(
        name="brightness",
        version="1",
        sha256=file_sha256(folder / MODEL_FILE),
        architecture="mean brightness",
        classes=("benign", "malignant"),
        threshold=0.5,
        preprocessing=Preprocessing(size=SIZE),
        intended_use="tests",
    ).model_copy(update=changes)
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return load_model_package(folder)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return write_package(tmp_path_factory.mktemp("package"), brightness_model())


@pytest.fixture(scope="session")
def gated_package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """With a gate that flags what is darker than 55 of 255, and two operating points."""
    folder = tmp_path_factory.mktemp("gated")
    return write_package(
        folder,
        _gated_model(),
        threshold=POINTS[0].threshold,
        operating_points=POINTS,
        out_of_distribution=GATE,
    )


@pytest.fixture(scope="session")
def broken_package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """Its "probabilities" are the logits."""
    model = brightness_model()
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.op_type = "Identity"
    del softmax.attribute[:]
    return write_package(tmp_path_factory.mktemp("broken"), model)


@pytest.fixture(scope="session")
def settings(package: ModelPackage) -> AnalysisSettings:
    return AnalysisSettings(
        model=package.folder, threads=1, decode_seconds=20, decode_megabytes=1024
    )


@pytest.fixture(scope="session")
def analyser(settings: AnalysisSettings) -> Iterator[Analyser]:
    analyser = Analyser(settings)
    yield analyser
    analyser.close()


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """``saved(dataset, name="image.dcm")``: write a data set as DICOM Part 10."""

    def save(dataset: Dataset, name: str = "image.dcm") -> Path:
        path = tmp_path / name
        dataset.save_as(path, enforce_file_format=True)
        return path

    return save


def speckle(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """``(rows, columns, 3)`` uint8 grey noise, as bright as tissue."""
    grey = np.random.default_rng(seed).integers(30, 160, (rows, columns), dtype=np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.fixture
def tissue() -> Dataset:
    """A US Image of 240 × 320 pixels of grey speckle, with all that the gate lets pass."""
    dataset = wrap_pixels(speckle(240, 320), "tissue")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "BREAST", "0001"]
    return dataset


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(seconds=20, megabytes=1024) as decoder:
        yield decoder
