"""A backbone with the study's head, and the analytic Grad-CAM that is exported with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model_export.backbones import BackboneName, make_backbone

BENIGN, MALIGNANT = 0, 1
CLASSES = ("benign", "malignant")


class Classifier(nn.Module):
    """Backbone features → global average pooling → FC 512 → ReLU → FC 2 (logits).

    Input ``(N, 3, S, S)`` float32, output ``(N, 2)`` logits in the order of ``CLASSES``.

    name: the backbone. size: edge of the input in pixels; only the Vision Transformer is bound
    to it, the others take any. dropout: probability, on the pooled features.
    Raises ValueError if the backbone cannot take the size.
    """

    def __init__(
        self, name: BackboneName = "resnet50", size: int = 224, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.name = name
        self.backbone = make_backbone(name, size)
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(self.backbone.widths[1], 512)
        self.fc2 = nn.Linear(512, len(CLASSES))

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The middle and the last feature map; see :mod:`model_export.backbones`."""
        return self.backbone.stages(x)

    def head(self, features: Tensor) -> Tensor:
        """Logits ``(N, 2)`` of the last map ``(N, K, h, w)``."""
        return self.classify(features.mean(dim=(2, 3)))

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits ``(N, 2)`` of the pooled last map ``(N, K)``."""
        logits: Tensor = self.fc2(torch.relu(self.fc1(self.dropout(pooled))))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(x)[1])


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
        return self.of_map(self.model.stages(x)[1])

    def of_map(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same from the last map ``(N, K, h, w)``."""
        hidden = self.model.fc1(features.mean(dim=(2, 3)))
        logits = self.model.fc2(torch.relu(hidden))
        gate = (hidden > 0).to(hidden.dtype)
        malignant = self._cam(features, gate, MALIGNANT)
        return torch.softmax(logits, dim=1), malignant, self._cam(features, gate, BENIGN)

    def _cam(self, features: Tensor, gate: Tensor, target: int) -> Tensor:
        places = features.shape[2] * features.shape[3]
        alpha = (gate * self.model.fc2.weight[target]) @ self.model.fc1.weight / places
        return torch.relu((alpha[:, :, None, None] * features).sum(dim=1))
