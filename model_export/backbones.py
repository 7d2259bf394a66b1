"""The study's six backbones (torchvision), each cut before its own classifier.

Every backbone gives two feature maps: ``middle`` and ``last``. The head pools ``last``, and
Grad-CAM is taken there; the auxiliary mask output of the training sees both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

BackboneName = Literal["vgg16", "googlenet", "alexnet", "resnet50", "vit_b_16", "densenet121"]
BACKBONES: tuple[BackboneName, ...] = get_args(BackboneName)


class Backbone(nn.Module, ABC):
    """A torchvision network without its classifier; ``net`` keeps torchvision's parameter names.

    widths: channels of the middle and of the last map. title: as a model card names it.
    fixed_size: the only input size (pixels) it can take, None if any will do.
    """

    widths: tuple[int, int]
    title: str
    fixed_size: int | None = None

    def __init__(self, size: int) -> None:
        super().__init__()
        self.net = self._build(size)

    @staticmethod
    @abstractmethod
    def _build(size: int) -> Any:
        """torchvision's network with random weights, for inputs of ``size`` pixels.

        Any, for it has layers that nn.Module's type does not know.
        """

    @abstractmethod
    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, 3, S, S)`` to the middle ``(N, K, h, w)`` and the last ``(N, K', h', w')`` map."""

    def load_torchvision(self, state: Mapping[str, Tensor]) -> None:
        """Load a state dict of the torchvision model; its classifier is left out.

        Raises ValueError if a key of the backbone is missing or has another shape.
        """
        own = self.net.state_dict()
        kept = OrderedDict((key, value) for key, value in state.items() if key in own)
        wrong = [key for key, value in kept.items() if value.shape != own[key].shape]
        absent = [k for k in own if k not in kept and not k.endswith("num_batches_tracked")]
        if absent or wrong:
            raise ValueError(
                f"these are not torchvision weights of {self.title}: "
                f"{len(absent)} missing {absent[:3]}, {len(wrong)} of another shape {wrong[:3]}"
            )
        self.net.load_state_dict(kept, strict=False)


class ResNet50(Backbone):
    """He et al., CVPR 2016; maps of stages 3 and 4, stride 16 and 32."""

    widths = (1024, 2048)
    title = "ResNet50"

    @staticmethod
    def _build(size: int) -> Any:
        net = models.resnet50(weights=None)
        net.fc = nn.Identity()
        return net

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        net = self.net
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        middle = net.layer3(net.layer2(net.layer1(x)))
        return middle, net.layer4(middle)


class Vgg16(Backbone):
    """Simonyan & Zisserman, ICLR 2015; the maps before the last two poolings, stride 8 and 16."""

    widths = (512, 512)
    title = "VGG16"

    @staticmethod
    def _build(size: int) -> Any:
        return nn.ModuleDict({"features": models.vgg16(weights=None).features})

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.net["features"]
        middle = features[:23](x)
        return middle, features[23:30](middle)


class AlexNet(Backbone):
    """Krizhevsky 2014 (one tower); the maps of convolution 3 and 5 before pooling, stride 16."""

    widths = (384, 256)
    title = "AlexNet"

    @staticmethod
    def _build(size: int) -> Any:
        return nn.ModuleDict({"features": models.alexnet(weights=None).features})

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.net["features"]
        middle = features[:8](x)
        return middle, features[8:12](middle)


class GoogLeNet(Backbone):
    """Szegedy et al., CVPR 2015, no auxiliary classifiers; inception 4e and 5b, stride 16 and 32.

    torchvision's weights were made for inputs of mean and standard deviation 0.5: the first step
    brings ours, which are normalised as ImageNet's, to that.
    """

    widths = (832, 1024)
    title = "GoogLeNet"

    @staticmethod
    def _build(size: int) -> Any:
        net = models.GoogLeNet(aux_logits=False, transform_input=True, init_weights=True)
        net.fc = nn.Identity()
        return net

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        net = self.net
        x = net.maxpool1(net.conv1(net._transform_input(x)))
        x = net.maxpool2(net.conv3(net.conv2(x)))
        x = net.maxpool3(net.inception3b(net.inception3a(x)))
        x = net.inception4c(net.inception4b(net.inception4a(x)))
        middle = net.inception4e(net.inception4d(x))
        return middle, net.inception5b(net.inception5a(net.maxpool4(middle)))


class DenseNet121(Backbone):
    """Huang et al., CVPR 2017; dense block 3 and the rectified map of block 4, stride 16 and 32."""

    widths = (1024, 1024)
    title = "DenseNet121"

    @staticmethod
    def _build(size: int) -> Any:
        net = models.densenet121(weights=None)
        net.classifier = nn.Identity()
        return net

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        blocks = self.net.features
        for block in list(blocks.children())[:-3]:
            x = block(x)
        last = blocks.norm5(blocks.denseblock4(blocks.transition3(x)))
        return x, torch.relu(last)


class VitB16(Backbone):
    """Dosovitskiy et al., ICLR 2021; patch tokens after block 6 and the last norm, stride 16.

    The head pools the patch tokens: from the class token, which torchvision's own head reads, no
    gradient flows to the last block's patch tokens, so Grad-CAM would be empty there.
    """

    widths = (768, 768)
    title = "Vision Transformer B/16"

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.fixed_size = size

    @staticmethod
    def _build(size: int) -> Any:
        if size % 16:
            raise ValueError(f"the Vision Transformer takes multiples of 16 pixels, not {size}")
        net = models.VisionTransformer(
            image_size=size,
            patch_size=16,
            num_layers=12,
            num_heads=12,
            hidden_dim=768,
            mlp_dim=3072,
        )
        net.heads = nn.Identity()
        return net

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        net = self.net
        grid = (x.shape[2] // 16, x.shape[3] // 16)
        patches = net.conv_proj(x).flatten(2).transpose(1, 2)
        token = net.class_token.expand(x.shape[0], -1, -1)
        tokens = net.encoder.dropout(torch.cat([token, patches], 1) + net.encoder.pos_embedding)
        blocks = list(net.encoder.layers)
        for block in blocks[:6]:
            tokens = block(tokens)
        middle = tokens
        for block in blocks[6:]:
            tokens = block(tokens)
        last = net.encoder.ln(tokens)
        return _as_map(middle, grid), _as_map(last, grid)

    def load_torchvision(self, state: Mapping[str, Tensor]) -> None:
        """As the others; the position embedding is interpolated to this input size."""
        if "encoder.pos_embedding" in state:
            state = interpolate_embeddings(self.fixed_size, 16, OrderedDict(state))
        super().load_torchvision(state)


def _as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """``(N, 1 + h·w, K)`` tokens to ``(N, K, h, w)``, without the class token."""
    return tokens[:, 1:].transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


BY_NAME: Mapping[BackboneName, type[Backbone]] = {
    "vgg16": Vgg16,
    "googlenet": GoogLeNet,
    "alexnet": AlexNet,
    "resnet50": ResNet50,
    "vit_b_16": VitB16,
    "densenet121": DenseNet121,
}


def make_backbone(name: BackboneName, size: int) -> Backbone:
    """A backbone with random weights for inputs of ``size`` pixels.

    Raises ValueError for an unknown name or a size that it cannot take.
    """
    if name not in BY_NAME:
        raise ValueError(f"{name!r} is no backbone: choose from {', '.join(BACKBONES)}")
    return BY_NAME[name](size)
