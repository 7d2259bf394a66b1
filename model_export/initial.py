"""Initial weights: from torchvision, a file, an earlier run or a model package, or none."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torchvision.models import get_model_weights

from model_export.checkpoint import CHECKPOINT_FILE, load_checkpoint
from model_export.network import Classifier
from service.analysis.model_package import MANIFEST_FILE, MODEL_FILE, load_model_package

TORCHVISION = "torchvision"
_EPS = 1e-5
"""Of ResNet50's BatchNorms; packages of version 1 were of no other backbone."""


def load_initial(model: Classifier, source: str) -> str:
    """Load ``source`` into the model and tell in words what it was.

    source: ``torchvision`` (its default weights, downloaded by torch), a ``.npz`` or ``.pt``/
        ``.pth`` state dict of the torchvision model, a run folder or its ``model.pt``, or a model
        package's folder. Only the two last ones have a head for the diagnosis.
    Raises ValueError if it is none of these or of another backbone, OSError if it cannot be had.
    """
    if source == TORCHVISION:
        weights = get_model_weights(model.name).DEFAULT
        model.backbone.load_torchvision(weights.get_state_dict(progress=True))
        return f"torchvision's {weights}"
    path = Path(source)
    if (path / MANIFEST_FILE).is_file():
        package = load_model_package(path)
        load_package(model, path / MODEL_FILE)
        return f"{package.manifest.name} {package.manifest.version}"
    if (path / CHECKPOINT_FILE).is_file() or path.name == CHECKPOINT_FILE:
        return _from_run(model, path)
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    elif path.suffix in (".pt", ".pth"):
        state = torch.load(path, weights_only=True, map_location="cpu")
    else:
        raise ValueError(f"{source} is no state dict, run folder or model package")
    model.backbone.load_torchvision(state)
    return path.name


def _from_run(model: Classifier, path: Path) -> str:
    earlier = load_checkpoint(path)
    if earlier.backbone != model.name:
        raise ValueError(f"{path} holds a {earlier.backbone}, not a {model.name}")
    try:
        model.load_state_dict(earlier.model.state_dict())
    except RuntimeError as error:
        raise ValueError(f"{path} was trained for another input size") from error
    return f"an earlier run ({earlier.backbone})"


def load_package(model: Classifier, path: Path) -> None:
    """Read the weights of a package's ``model.onnx`` back into torch.

    Where the graph holds convolutions with BatchNorm folded into them (packages of version 1 do),
    the BatchNorm becomes the identity but for the bias; :func:`unfold_batch_norm` undoes that.
    Raises ValueError if the graph is not of this backbone.
    """
    found = _initializers(path)
    state = model.state_dict()
    norms = _norm_of_convolution(model)
    for name in list(state):
        if name in found:
            if found[name].shape != state[name].shape:
                raise ValueError(f"{path} is not a {model.name}: {name} has another shape")
            state[name] = found[name]
    known = set(found)
    for convolution, norm in norms.items():
        bias = found.get(f"{convolution}.bias")
        if f"{norm}.running_var" in found or bias is None:
            continue
        identity = {
            # BatchNorm divides by sqrt(1 + eps).
            f"{norm}.weight": torch.full_like(bias, float(np.sqrt(1 + _EPS))),
            f"{norm}.bias": bias,
            f"{norm}.running_mean": torch.zeros_like(bias),
            f"{norm}.running_var": torch.ones_like(bias),
        }
        state.update(identity)
        known.update(identity)
    absent = [n for n in state if n not in known and not n.endswith("num_batches_tracked")]
    if absent:
        raise ValueError(f"{path} is not a {model.name}: it lacks {absent[:3]}")
    model.load_state_dict(state)


def _initializers(path: Path) -> dict[str, Tensor]:
    """float32 tensors by their names in the torch model."""
    tensors = {}
    for tensor in onnx.load(path).graph.initializer:
        name = tensor.name.removesuffix("_float16").removeprefix("model.")
        for part in ("layer1", "layer2", "layer3", "layer4"):
            if name.startswith(f"{part}."):
                name = f"backbone.net.{name}"
        name = name.replace("stem.0.", "backbone.net.conv1.")
        tensors[name] = torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
    return tensors


def _norm_of_convolution(model: Classifier) -> dict[str, str]:
    """Names of the convolutions that a BatchNorm follows directly, with that BatchNorm's name."""
    named = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    pairs = {}
    for (first, one), (second, other) in pairwise(named):
        if isinstance(one, nn.Conv2d) and isinstance(other, nn.BatchNorm2d):
            pairs[first] = second
    return pairs


@torch.no_grad()
def unfold_batch_norm(model: Classifier, inputs: Tensor) -> None:
    """Give BatchNorms that were folded away statistics of real inputs, keeping what they compute.

    inputs: ``(N, 3, S, S)``, some hundred preprocessed images.

    A folded BatchNorm passes its input on; in training it would normalise each channel to unit
    variance and change the network. With the mean m and variance v of its input as running
    statistics, weight √(v + ε) and bias b + m it computes the same and is at rest in training.
    """
    measured: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and bool(
            (module.get_buffer("running_var") == 1).all()
        ):

            def measure(
                _module: nn.Module, arguments: tuple[Tensor, ...], name: str = name
            ) -> None:
                variance, mean = torch.var_mean(arguments[0], dim=(0, 2, 3))
                measured[name] = (mean, variance)

            hooks.append(module.register_forward_pre_hook(measure))
    if not hooks:
        return
    model.eval()
    totals: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for batch in torch.split(inputs, 16):
        model(batch)
        for name, pair in measured.items():
            totals.setdefault(name, []).append(pair)
    for hook in hooks:
        hook.remove()
    modules = dict(model.named_modules())
    for name, moments in totals.items():
        norm = modules[name]
        if not isinstance(norm, nn.BatchNorm2d):
            raise TypeError(name)
        mean = torch.stack([m for m, _ in moments]).mean(0)
        within = torch.stack([v for _, v in moments]).mean(0)
        variance = within + torch.stack([m for m, _ in moments]).var(0, unbiased=False)
        gain = norm.weight / float(np.sqrt(1 + norm.eps))
        norm.bias.add_(gain * mean)
        norm.weight.copy_(gain * torch.sqrt(variance + norm.eps))
        norm.get_buffer("running_mean").copy_(mean)
        norm.get_buffer("running_var").copy_(variance)
