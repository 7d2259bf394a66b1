"""What training asks for besides the diagnosis: the lesion's mask, and evidence from the lesion.

Without the latter the diagnosis was right while the map lay on the background
(docs/decisions/0004-evidence-on-the-lesion.md).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from model_export.network import Classifier


def mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice against the mask's share of each cell."""
    target = functional.interpolate(mask, logits.shape[2:], mode="area")
    logits = logits.float()
    probability = torch.sigmoid(logits)
    overlap = (probability * target).sum(dim=(1, 2, 3))
    total = (probability + target).sum(dim=(1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return functional.binary_cross_entropy_with_logits(logits, target) + dice.mean()


def evidence_loss(model: Classifier, features: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
    """−log of the share of the evidence that lies in cells which touch the lesion.

    The evidence for class c at a place is ``M_c = Σ_k α_ck A_k`` with Grad-CAM's weights α (see
    :class:`model_export.network.AnalyticCam`): its mean over the places is the logit but for a
    constant. For the true class only positive evidence counts as right, so that Grad-CAM, which
    shows just that, lies on the lesion; for the other class either sign does. Images without a
    mask do not count.
    """
    features = features.float()
    target = functional.adaptive_max_pool2d(mask, features.shape[2:])
    known = (mask.amax(dim=(1, 2, 3)) > 0).float()
    hidden = functional.linear(features.mean(dim=(2, 3)), model.fc1.weight, model.fc1.bias)
    gate = (hidden > 0).float()
    alpha = (gate[:, None] * model.fc2.weight) @ model.fc1.weight
    evidence = torch.einsum("nck,nkhw->nchw", alpha, features)
    true_class = functional.one_hot(labels, evidence.shape[1])[:, :, None, None].bool()
    right = torch.where(true_class, torch.relu(evidence), evidence.abs()) * target
    share = right.sum(dim=(2, 3)) / (evidence.abs().sum(dim=(2, 3)) + 1e-6)
    loss = -torch.log(share + 1e-3).mean(dim=1)
    return (loss * known).sum() / known.sum().clamp(min=1)
