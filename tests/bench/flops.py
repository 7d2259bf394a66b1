"""How much arithmetic a graph is."""

from __future__ import annotations

import math

import onnx
from onnx import shape_inference


def flops(model: onnx.ModelProto) -> int:
    """Floating point operations of one image: two for each multiply-add of Conv, Gemm and MatMul.

    Everything else (BatchNorm is folded, ReLU, pooling) is some hundredths of that and left out.
    Raises ValueError if the shapes of the graph cannot be inferred for a batch of one.
    """
    one = onnx.ModelProto()
    one.CopyFrom(model)
    for value in [*one.graph.input, *one.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    inferred = shape_inference.infer_shapes(one, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in [*inferred.input, *inferred.value_info, *inferred.output]:
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return sum(_of_node(node, shapes) for node in inferred.node)


def _of_node(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return 0
    try:
        left, right = shapes[node.input[0]], shapes[node.input[1]]
        results = math.prod(shapes[node.output[0]])
    except KeyError as error:
        raise ValueError(f"the shape of {error} is not known") from None
    # Of a convolution each result sums over the weights of one output channel.
    summed = math.prod(right[1:]) if node.op_type == "Conv" else left[-1]
    if results * summed == 0:
        raise ValueError(f"a dimension of {node.name} is not known")
    return 2 * results * summed
