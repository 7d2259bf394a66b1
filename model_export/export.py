"""From trained weights to ``model.onnx``: one graph for probabilities, CAM and distance.

The graph is not optimised here beyond constants: ONNX Runtime folds each BatchNorm into its
convolution when the session starts, and runs as fast as a file in which that was done before. So
every parameter keeps its torch name (``model.backbone.net.layer1.0.conv1.weight``), and a package
can be read back into torch.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import Sequential
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    LiftConstantsToInitializersPass,
    NameFixPass,
    OutputFixPass,
    RemoveUnusedNodesPass,
)
from onnxscript.optimizer import fold_constants_ir
from torch import Tensor, nn

from model_export.calibration import apply_calibration
from model_export.checkpoint import Checkpoint
from model_export.gate import Gate, GateModule, pool
from model_export.network import AnalyticCam, Classifier
from service.analysis.inference import DISTANCE, INPUT, OUTPUTS

_SMALLEST_HALVED = 1024


class _CamAndDistance(AnalyticCam):
    """The analytic CAM with the gate's distance ``(N,)`` as fourth output."""

    def __init__(self, model: Classifier, gate: Gate) -> None:
        super().__init__(model)
        self.gate = GateModule(gate)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        middle, last = self.model.stages(x)
        return (*self.of_map(last), self.gate(pool(middle, last)))


def export_checkpoint(
    checkpoint: Checkpoint, path: Path, *, size: int | None = None, half: bool = True
) -> None:
    """Write the graph of a checkpoint, its calibration applied to the last layer.

    size: edge of the input in pixels; that of the training by default.
    Raises ValueError for a size that the backbone cannot take.
    """
    trained = checkpoint.preprocessing.size
    fixed = checkpoint.model.backbone.fixed_size
    if size is not None and fixed is not None and size != fixed:
        raise ValueError(
            f"{checkpoint.model.backbone.title} takes inputs of {fixed} pixels alone, not {size}"
        )
    model = copy.deepcopy(checkpoint.model)
    apply_calibration(model, checkpoint.calibration)
    gate = Gate.from_tensors(checkpoint.gate) if checkpoint.gate else None
    export_onnx(model, size or trained, path, half=half, gate=gate)


def export_onnx(
    model: Classifier, size: int, path: Path, half: bool = True, gate: Gate | None = None
) -> None:
    """Write the one-pass graph.

    Input ``image (N, 3, size, size)``; outputs ``probabilities (N, 2)``, ``cam (N, h, w)`` of the
    malignant and ``cam_benign (N, h, w)`` of the benign logit, and ``distance (N,)`` of the gate.

    half: store the large weights as float16, with a Cast to float32 in front of their use. ONNX
        Runtime folds the Cast when the session starts, so it computes in float32.
    gate: without one the graph has no ``distance``.
    """
    graph = AnalyticCam(model) if gate is None else _CamAndDistance(model, gate)
    proto = _traced(graph.eval(), size, OUTPUTS if gate is None else (*OUTPUTS, DISTANCE))
    if half:
        _halve(proto)
    del proto.metadata_props[:]
    del proto.graph.value_info[:]
    for value in [*proto.graph.input, *proto.graph.output]:
        del value.metadata_props[:]
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _traced(graph: nn.Module, size: int, outputs: tuple[str, ...]) -> onnx.ModelProto:
    """The graph with its constants folded, but each parameter as it is in torch."""
    program = torch.onnx.export(
        graph,
        # Two images: a batch of one would be taken for a constant.
        (torch.zeros(2, 3, size, size),),
        dynamo=True,
        optimize=False,
        input_names=[INPUT],
        output_names=list(outputs),
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    model = program.model
    parameters = set(model.graph.initializers)

    def should_fold(node: onnx_ir.Node) -> bool | None:
        # A shape is folded, else the zero bias that torch gives a convolution stays an expression.
        used = any(value is not None and value.name in parameters for value in node.inputs)
        return False if used and node.op_type != "Shape" else None

    fold_constants_ir(model, should_fold=should_fold)
    Sequential(
        RemoveUnusedNodesPass(),
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        CommonSubexpressionEliminationPass(),
        OutputFixPass(),
        NameFixPass(),
    )(model)
    proto = onnx_ir.to_proto(model)
    _drop_zero_biases(proto, parameters)
    return proto


def _drop_zero_biases(proto: onnx.ModelProto, parameters: set[str]) -> None:
    """Take away the zeros that torch's exporter adds to a convolution that has no bias."""
    zeros = {
        tensor.name: tensor
        for tensor in proto.graph.initializer
        if tensor.name not in parameters and not numpy_helper.to_array(tensor).any()
    }
    for node in proto.graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[2] in zeros:
            del node.input[2]
    used = {name for node in proto.graph.node for name in node.input}
    for name, tensor in zeros.items():
        if name not in used:
            proto.graph.initializer.remove(tensor)


def _halve(proto: onnx.ModelProto) -> None:
    """Replace large float32 initializers by float16 ones behind a Cast.

    Vectors stay float32: they are small, and the statistics of BatchNorm are among them.
    """
    graph = proto.graph
    casts = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.ndim < 2:
            continue
        if values.size < _SMALLEST_HALVED:
            continue
        name = tensor.name
        halved = values.astype(np.float16)
        if not np.isfinite(halved).all():
            continue
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(halved, f"{name}_float16"))
        casts.append(helper.make_node("Cast", [f"{name}_float16"], [name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
