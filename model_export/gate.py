"""The out-of-distribution gate: how unlike the training images is this one?

Pooled features of the training images are described by one Gaussian (probabilistic PCA, Tipping &
Bishop, J R Stat Soc B 1999): with the standardised features ``z = (f − μ) / s`` and the principal
components ``W`` (K × k, orthonormal) with variances ``λ``,

    distance² = [ Σ_i (Wᵀz)_i² / λ_i  +  (|z|² − |Wᵀz|²) / σ² ] / K

where σ² is the mean variance of those of the other directions that the training images span. This
is the Mahalanobis distance of Lee et al. (NeurIPS 2018) for one class, with the residual of Wang
et al. (CVPR 2022) in it; divided by the number of features, so that it does not grow with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor, nn

from model_export.dataset import LabelledImage
from model_export.network import Classifier
from service.analysis.preprocessing import Preprocessing, preprocess

COMPONENTS = 64
PERCENTILE = 99.5
_BATCH = 8
_LEAST_VARIANCE = 1e-6
_LEAST_SCALE = 0.05
_NAMES = ("mean", "scale", "components", "variances", "noise", "limit", "percentile")

Features = NDArray[np.float64]


def pool(middle: Tensor, last: Tensor) -> Tensor:
    """The two maps of a backbone, ``(N, K, h, w)`` each, as one feature vector ``(N, K1 + K2)``."""
    return torch.cat([middle.mean(dim=(2, 3)), last.mean(dim=(2, 3))], dim=1)


@torch.no_grad()
def pooled_features(
    model: Classifier,
    images: Iterable[LabelledImage | NDArray[np.uint8]],
    spec: Preprocessing,
) -> Features:
    """Features ``(N, K)`` of images, or of pixels as ``preprocess`` takes them.

    The model's mode (training or evaluation) is left as it was found.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    found: list[NDArray[np.float32]] = []
    batch: list[Tensor] = []

    def flush() -> None:
        if batch:
            pooled = pool(*model.stages(torch.stack(batch).to(device)))
            found.append(pooled.float().cpu().numpy())
            batch.clear()

    for image in images:
        pixels = image.pixels() if isinstance(image, LabelledImage) else image
        batch.append(torch.from_numpy(preprocess(pixels, spec)))
        if len(batch) == _BATCH:
            flush()
    flush()
    model.train(was_training)
    if not found:
        raise ValueError("a gate needs images, and none were given")
    return np.concatenate(found).astype(np.float64)


@dataclass(frozen=True)
class Gate:
    """mean, scale: ``(K,)``; components: ``(K, k)``; variances: ``(k,)``; see the module.

    noise: σ², the mean variance of the directions that are left over, of those that were spanned.
    limit: an image is unlike the training images if its distance is larger.
    percentile: of the validation images' distances, where the limit lies.
    """

    mean: Features
    scale: Features
    components: Features
    variances: Features
    noise: float
    limit: float
    percentile: float

    @property
    def method(self) -> str:
        """In words, for the manifest."""
        features, components = self.components.shape
        return (
            f"Mahalanobis distance of {features} pooled features (middle and last map) under "
            f"probabilistic PCA with {components} components, divided by the root of {features}"
        )

    @property
    def rule(self) -> str:
        """How the limit was found, in words."""
        return f"percentile {self.percentile:g} of the distances of the validation images"

    def tensors(self) -> dict[str, Tensor]:
        """As a checkpoint keeps it."""
        return {name: torch.as_tensor(getattr(self, name)) for name in _NAMES}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of ``tensors``. Raises ValueError if one is missing."""
        absent = [name for name in _NAMES if name not in tensors]
        if absent:
            raise ValueError(f"the checkpoint's gate lacks {', '.join(absent)}")
        values: dict[str, Any] = {name: tensors[name].double().numpy() for name in _NAMES}
        for name in ("noise", "limit", "percentile"):
            values[name] = float(values[name])
        return cls(**values)


def fit_gate(
    training: Features,
    validation: Features,
    *,
    components: int = COMPONENTS,
    percentile: float = PERCENTILE,
) -> Gate:
    """Describe the training features ``(N, K)`` and set the limit on the validation features.

    components: fewer are taken where the images do not allow so many.
    Raises ValueError for fewer than 3 training images, or none of validation.
    """
    if len(training) < 3 or not len(validation):
        raise ValueError(
            f"{len(training)} training and {len(validation)} validation images are too few "
            "to fit a gate"
        )
    mean, spread = training.mean(axis=0), training.std(axis=0)
    # A unit that is all but dead on the training images must not decide alone.
    scale = np.maximum(spread, max(_LEAST_SCALE * float(np.median(spread)), _LEAST_VARIANCE))
    possible = min(training.shape[1], len(training) - 1) - 1
    pca = PCA(n_components=min(components, possible), svd_solver="full")
    pca.fit((training - mean) / scale)
    unlimited = Gate(
        mean=mean,
        scale=scale,
        components=pca.components_.T,
        variances=np.maximum(pca.explained_variance_, _LEAST_VARIANCE),
        noise=max(float(pca.noise_variance_), _LEAST_VARIANCE),
        limit=float("inf"),
        percentile=percentile,
    )
    limit = float(np.percentile(distances(unlimited, validation), percentile))
    return Gate.from_tensors({**unlimited.tensors(), "limit": torch.tensor(round(limit, 4))})


def distances(gate: Gate, features: Features) -> Features:
    """The formula of the module: ``(N, K)`` features to ``(N,)`` distances."""
    z = (features - gate.mean) / gate.scale
    along = z @ gate.components
    across = (z**2).sum(axis=1) - (along**2).sum(axis=1)
    squared = (along**2 / gate.variances).sum(axis=1) + np.maximum(across, 0) / gate.noise
    return np.asarray(np.sqrt(squared / features.shape[1]))


class GateModule(nn.Module):
    """The same formula in the exported graph, in float32."""

    mean: Tensor
    inverse_scale: Tensor
    components: Tensor
    weights: Tensor

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(gate.mean).float())
        self.register_buffer("inverse_scale", torch.as_tensor(1 / gate.scale).float())
        self.register_buffer("components", torch.as_tensor(gate.components).float())
        # What a component adds beyond its share of the residual.
        weights = 1 / gate.variances - 1 / gate.noise
        self.register_buffer("weights", torch.as_tensor(weights).float())
        self.noise = gate.noise

    def forward(self, features: Tensor) -> Tensor:
        """``(N, K)`` pooled features to ``(N,)`` distances."""
        z = (features - self.mean) * self.inverse_scale
        along = (z @ self.components).square()
        squared = (along * self.weights).sum(dim=1) + z.square().sum(dim=1) / self.noise
        return torch.sqrt(torch.relu(squared / features.shape[1]))
