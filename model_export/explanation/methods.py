"""The heatmap methods, all on the last feature map and for the logit of one decision.

``A`` is that map (K channels of h × w), ``y`` the logit, ``g = ∂y/∂A``. Every method's map is
brought to the image and scaled to a maximum of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM
from pytorch_grad_cam.guided_backprop import GuidedBackpropReLU
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from dicom_sr.finding import Decision
from model_export.explanation.choices import Method
from model_export.explanation.network import Explained
from model_export.network import BENIGN, MALIGNANT
from model_export.prediction import Prediction
from service.analysis.inference import heatmap_of
from service.analysis.preprocessing import Preprocessing, preprocess

CLASS_OF = {Decision.MALIGNANT: MALIGNANT, Decision.BENIGN: BENIGN}


class Explainer:
    """Makes heatmaps of one network.

    network: None will do for ``gradcam``, which the prediction brings along.
    """

    def __init__(self, network: Explained | None, preprocessing: Preprocessing) -> None:
        self._network = network
        self._preprocessing = preprocessing

    def heatmap(
        self,
        method: Method,
        pixels: NDArray[np.uint8],
        prediction: Prediction,
        decision: Decision,
    ) -> NDArray[np.float32]:
        """The map of ``(H, W)`` grey levels for the decision's logit.

        Returns ``(H, W)`` float32, 0–1, maximum 1, or all 0 if no place speaks for the decision.
        Raises ValueError if the method needs the torch network and there is none, or does not
        fit it.
        """
        if method is Method.GRADCAM:
            return prediction.heatmap(decision)
        if self._network is None:
            raise ValueError(f"{method} needs the torch network")
        network_input = torch.from_numpy(preprocess(pixels, self._preprocessing))[None]
        target = CLASS_OF[decision]
        if method is Method.GUIDED:
            found = self._guided(network_input, target)
        else:
            found = class_activation(self._network, _CAMS[method], network_input, target)
        height, width = pixels.shape
        return heatmap_of(found, height, width, self._preprocessing)

    def _guided(self, network_input: Tensor, target: int) -> NDArray[np.float32]:
        """Guided backpropagation to the grey level, absolute, times Grad-CAM, ``(S, S)``."""
        network = self._network
        if network is None or network.model.name == "vit_b_16":
            raise ValueError(
                "guided backpropagation is defined on ReLU, and the Vision Transformer has GELU: "
                "choose another method"
            )
        gradients = guided_gradients(network, network_input, target)
        # All three channels hold the same grey level g as (g − mean) / std: the chain rule.
        to_grey = 1 / torch.tensor(self._preprocessing.std)[:, None, None]
        guided = (gradients * to_grey).sum(0).abs().numpy()
        cam = class_activation(network, GradCAM, network_input, target)
        return np.asarray(guided * cam, dtype=np.float32)


def class_activation(
    network: Explained, method: Callable[..., Any], network_input: Tensor, target: int
) -> NDArray[np.float32]:
    """pytorch-grad-cam's map of ``(1, 3, S, S)``: ``(S, S)`` float32, 0–1."""
    with method(model=network, target_layers=[network.last]) as cam:
        found = cam(input_tensor=network_input, targets=[ClassifierOutputTarget(target)])
    network.zero_grad(set_to_none=True)
    return np.asarray(found[0], dtype=np.float32)


def guided_gradients(network: Explained, network_input: Tensor, target: int) -> Tensor:
    """∂logit/∂input of ``(1, 3, S, S)``, ``(3, S, S)``, where each ReLU passes back only what is
    positive both forwards and backwards."""
    leaf = network_input.clone().requires_grad_()
    with _GuidedReLU():
        logit = network(leaf)[0, target]
    (gradients,) = torch.autograd.grad(logit, leaf)
    return gradients[0]


class _GuidedReLU(TorchFunctionMode):
    """Every ReLU becomes pytorch-grad-cam's guided one while this is active.

    pytorch-grad-cam's own ``GuidedBackpropReLUModel`` replaces modules, and so leaves out those
    ReLUs that are function calls: all of GoogLeNet's and the one in our head.
    """

    _RELUS = (torch.relu, torch.relu_, functional.relu, Tensor.relu, Tensor.relu_)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in self._RELUS:
            return GuidedBackpropReLU.apply(args[0])
        return func(*args, **(kwargs or {}))


class _FrugalScoreCam(ScoreCAM):  # type: ignore[misc]
    """pytorch-grad-cam's, but masked inputs are made in batches: all K at once are 2 GB for a
    ResNet50 at 288 pixels, and 26 GB at 1024."""

    batch_size = 32

    @torch.no_grad()
    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layer: torch.nn.Module,
        targets: Sequence[Callable[[Tensor], Tensor]],
        activations: NDArray[np.float32],
        grads: object,
    ) -> NDArray[np.float32]:
        channels = torch.from_numpy(activations)[0, :, None]
        scores = []
        for batch in torch.split(channels, self.batch_size):
            masks = functional.interpolate(
                batch, size=input_tensor.shape[-2:], mode="bilinear", align_corners=True
            )
            low = masks.amin(dim=(2, 3), keepdim=True)
            high = masks.amax(dim=(2, 3), keepdim=True)
            logits = self.model(input_tensor * ((masks - low) / (high - low + 1e-8)))
            scores += [targets[0](one) for one in logits]
        return np.asarray(torch.softmax(torch.stack(scores), dim=0)[None].numpy())


_CAMS: dict[Method, Callable[..., Any]] = {
    Method.GRADCAM_PLUS_PLUS: GradCAMPlusPlus,
    Method.LAYERCAM: LayerCAM,
    Method.SCORECAM: _FrugalScoreCam,
}
