"""Initial weights: read back from a package exactly, unfolded BatchNorm at rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision import models

from model_export.export import export_onnx
from model_export.initial import load_initial, load_package, unfold_batch_norm
from model_export.network import Classifier


def _lived_in(model: nn.Module) -> None:
    """Statistics and weights as training leaves them, none of them 0 or 1."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                assert value is not None
                value.data = 0.5 + torch.rand(value.shape, generator=generator)


@pytest.fixture
def trained() -> Classifier:
    torch.manual_seed(0)
    model = Classifier("resnet50", 64)
    _lived_in(model)
    return model.eval()


def _answers(model: Classifier) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        x = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        logits: torch.Tensor = model(x)
    return logits


def _folded(model: Classifier, path: Path) -> None:
    """The initializers of a package of version 1: BatchNorm folded, the names of that time."""
    tensors = {}
    modules = dict(model.named_modules())
    names = [name for name, module in modules.items() if isinstance(module, nn.Conv2d)]
    for name in names:
        convolution = modules[name]
        assert isinstance(convolution, nn.Conv2d)
        norm_name = name.replace("conv", "bn")
        if name.endswith("downsample.0"):
            norm_name = name.removesuffix("0") + "1"
        norm = modules[norm_name]
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            convolution.weight,
            None,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        old = name.removeprefix("backbone.net.")
        old = "stem.0" if old == "conv1" else old
        tensors[f"model.{old}.weight"], tensors[f"model.{old}.bias"] = weight, bias
    for layer in ("fc1", "fc2"):
        for part in ("weight", "bias"):
            tensors[f"model.{layer}.{part}"] = model.state_dict()[f"{layer}.{part}"]
    initializers = [
        numpy_helper.from_array(tensor.detach().numpy(), name) for name, tensor in tensors.items()
    ]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "folded", [value], [output], initializers)
    onnx.save(helper.make_model(graph), path)


def test_a_package_with_folded_batch_norm_is_read_back(trained: Classifier, tmp_path: Path) -> None:
    _folded(trained, tmp_path / "model.onnx")
    back = Classifier("resnet50", 64)
    load_package(back, tmp_path / "model.onnx")
    torch.testing.assert_close(_answers(back), _answers(trained), rtol=1e-3, atol=1e-4)


def test_unfolding_keeps_the_answers_and_gives_real_statistics(
    trained: Classifier, tmp_path: Path
) -> None:
    _folded(trained, tmp_path / "model.onnx")
    back = Classifier("resnet50", 64)
    load_package(back, tmp_path / "model.onnx")
    x = torch.rand(32, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    unfold_batch_norm(back, x)
    torch.testing.assert_close(_answers(back), _answers(trained), rtol=1e-3, atol=1e-3)
    norm = back.backbone.net.bn1
    before_norm = back.backbone.net.conv1(x).detach()
    torch.testing.assert_close(norm.running_var, before_norm.var((0, 2, 3)), rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet50", "densenet121"])
def test_an_exported_model_is_read_back_to_the_bit(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Classifier(name, 64)  # type: ignore[arg-type]
    _lived_in(model)
    model.eval()
    export_onnx(model, 64, tmp_path / "model.onnx", half=False)
    back = Classifier(name, 64)  # type: ignore[arg-type]
    load_package(back, tmp_path / "model.onnx")
    torch.testing.assert_close(_answers(back), _answers(model), rtol=0, atol=0)


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    export_onnx(Classifier("alexnet", 64).eval(), 64, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="is not a resnet50"):
        load_package(Classifier("resnet50", 64), tmp_path / "model.onnx")


def test_torchvision_state_dicts_are_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = models.alexnet(weights=None)
    torch.save(net.state_dict(), tmp_path / "alexnet.pth")
    model = Classifier("alexnet", 64)
    assert load_initial(model, str(tmp_path / "alexnet.pth")) == "alexnet.pth"
    torch.testing.assert_close(model.backbone.net["features"][0].weight, net.features[0].weight)
    with pytest.raises(ValueError, match="not torchvision weights of VGG16"):
        load_initial(Classifier("vgg16", 64), str(tmp_path / "alexnet.pth"))


def test_the_vision_transformer_takes_weights_of_another_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = Classifier("vit_b_16", 32)
    torch.save(small.backbone.net.state_dict(), tmp_path / "vit.pth")
    large = Classifier("vit_b_16", 64)
    load_initial(large, str(tmp_path / "vit.pth"))
    with torch.no_grad():
        assert large.eval()(torch.rand(1, 3, 64, 64)).isfinite().all()


def test_the_pruned_imagenet_weights_are_read(data_folder: Path) -> None:
    file = data_folder / "weights" / "resnet50_imagenet_pruned.npz"
    model = Classifier("resnet50", 64)
    load_initial(model, str(file))
    with np.load(file) as arrays:
        expected = torch.from_numpy(arrays["layer4.2.conv3.weight"])
    torch.testing.assert_close(model.backbone.net.layer4[2].conv3.weight.data, expected)


def test_what_is_no_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no state dict, run folder or model package"):
        load_initial(Classifier("alexnet", 64), str(tmp_path))
