"""From trained weights to ``model.onnx``: one graph for probabilities and CAM."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import Bottleneck

from model_export.network import AnalyticCam, Classifier

_SMALLEST_HALVED = 1024


def export_onnx(model: Classifier, size: int, path: Path, half: bool = True) -> None:
    """Write the one-pass graph.

    Input ``image (N, 3, size, size)``; outputs ``probabilities (N, 2)``, ``cam (N, h, w)`` of the
    malignant and ``cam_benign (N, h, w)`` of the benign logit.

    half: store the large weights as float16, with a Cast to float32 in front of their use. ONNX
        Runtime folds the Cast when the session starts, so it computes in float32.
    """
    graph = AnalyticCam(_fused(model)).eval()
    # Two images: a batch of one would be taken for a constant.
    example = torch.zeros(2, 3, size, size)
    program = torch.onnx.export(
        graph,
        (example,),
        dynamo=True,
        input_names=["image"],
        output_names=["probabilities", "cam", "cam_benign"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    proto = program.model_proto
    if half:
        _halve(proto)
    del proto.metadata_props[:]
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _fused(model: Classifier) -> Classifier:
    """A copy with each BatchNorm folded into its convolution."""
    fused = copy.deepcopy(model).eval()
    convolution, norm = fused.stem[0], fused.stem[1]
    if not (isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
        raise TypeError("the stem does not begin with a convolution and its BatchNorm")
    fused.stem[0] = fuse_conv_bn_eval(convolution, norm)
    fused.stem[1] = nn.Identity()
    for stage in (fused.layer1, fused.layer2, fused.layer3, fused.layer4):
        for block in stage:
            if not isinstance(block, Bottleneck):
                raise TypeError(f"{type(block).__name__} is no ResNet bottleneck")
            for number in (1, 2, 3):
                merged = fuse_conv_bn_eval(
                    getattr(block, f"conv{number}"), getattr(block, f"bn{number}")
                )
                setattr(block, f"conv{number}", merged)
                setattr(block, f"bn{number}", nn.Identity())
            if block.downsample is not None:
                block.downsample = nn.Sequential(
                    fuse_conv_bn_eval(block.downsample[0], block.downsample[1])
                )
    return fused


def _halve(proto: onnx.ModelProto) -> None:
    """Replace large float32 initializers by float16 ones behind a Cast."""
    graph = proto.graph
    casts = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < _SMALLEST_HALVED:
            continue
        name = tensor.name
        halved = values.astype(np.float16)
        if not np.isfinite(halved).all():
            continue
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(halved, f"{name}_float16"))
        casts.append(helper.make_node("Cast", [f"{name}_float16"], [name], to=TensorProto.FLOAT))
        for value in [v for v in graph.value_info if v.name == name]:
            graph.value_info.remove(value)
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
