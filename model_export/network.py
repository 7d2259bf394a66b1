"""ResNet50 with the study's head, and the analytic Grad-CAM that is exported with it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.resnet import ResNet

BENIGN, MALIGNANT = 0, 1
CLASSES = ("benign", "malignant")


class Classifier(nn.Module):
    """Backbone features → global average pooling → FC 512 → ReLU → FC 2 (logits).

    Input ``(N, 3, S, S)`` float32, output ``(N, 2)`` logits in the order of ``CLASSES``.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        backbone: ResNet = resnet50(weights=None)
        self.stem = nn.Sequential(backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool)
        self.layer1 = backbone.layer1
        self.layer2 = backbone.layer2
        self.layer3 = backbone.layer3
        self.layer4 = backbone.layer4
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(2048, 512)
        self.fc2 = nn.Linear(512, len(CLASSES))

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps of the third and of the last stage, at stride 16 and 32."""
        third = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return third, self.layer4(third)

    def head(self, features: Tensor) -> Tensor:
        pooled = self.dropout(features.mean(dim=(2, 3)))
        logits: Tensor = self.fc2(torch.relu(self.fc1(pooled)))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(x)[1])


def load_torchvision_weights(model: Classifier, state: Mapping[str, Tensor]) -> None:
    """Load a torchvision ``resnet50`` state dict (its 1000-class ``fc`` is left out).

    Raises RuntimeError if a key of the backbone is missing or has another shape.
    """
    renamed = {}
    for key, value in state.items():
        if key.startswith("fc."):
            continue
        key = key.replace("conv1.", "stem.0.", 1) if key.startswith("conv1.") else key
        key = key.replace("bn1.", "stem.1.", 1) if key.startswith("bn1.") else key
        renamed[key] = value
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    absent = [key for key in missing if not key.startswith(("fc1.", "fc2."))]
    if absent or unexpected:
        raise RuntimeError(f"not a resnet50 state dict: missing {absent}, unexpected {unexpected}")


class AnalyticCam(nn.Module):
    """Probabilities and the Grad-CAM of either class logit in a single forward pass.

    For features ``A`` (N, K, h, w), hidden units ``h = W1 · mean(A) + b1`` and the logit
    ``y_c = w2[c] · ReLU(h) + b2[c]``, Grad-CAM's weights (Selvaraju et al. 2017, eq. 1) are

        α_ck = (1/hw) Σ_ij ∂y_c/∂A_kij = (1/hw) · [W1ᵀ (1[h > 0] ⊙ w2[c])]_k

    and the map is ``ReLU(Σ_k α_ck A_k)`` (eq. 2): ordinary operations, no backward pass.
    The target is the logit: a softmax target would scale the map by p(1 − p).
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(N, 3, S, S)`` to probabilities ``(N, 2)``, and the CAM ``(N, h, w)`` of the malignant
        and of the benign logit, not normalised."""
        features = self.model.stages(x)[1]
        hidden = self.model.fc1(features.mean(dim=(2, 3)))
        logits = self.model.fc2(torch.relu(hidden))
        gate = (hidden > 0).to(hidden.dtype)
        malignant = self._cam(features, gate, MALIGNANT)
        return torch.softmax(logits, dim=1), malignant, self._cam(features, gate, BENIGN)

    def _cam(self, features: Tensor, gate: Tensor, target: int) -> Tensor:
        places = features.shape[2] * features.shape[3]
        alpha = (gate * self.model.fc2.weight[target]) @ self.model.fc1.weight / places
        return torch.relu((alpha[:, :, None, None] * features).sum(dim=1))
