"""What a user of ``explain`` can choose; without torch, so that ``--help`` is quick."""

from __future__ import annotations

from enum import StrEnum


class Method(StrEnum):
    """How a heatmap is made."""

    GRADCAM = "gradcam"
    """``ReLU(Σ_k mean(g_k) A_k)`` (Selvaraju et al., ICCV 2017): the map that the service shows."""
    GRADCAM_PLUS_PLUS = "gradcam++"
    """Grad-CAM with pixel-wise weights of positive gradients (Chattopadhay et al., WACV 2018)."""
    LAYERCAM = "layercam"
    """``ReLU(Σ_k ReLU(g_k) ⊙ A_k)`` (Jiang et al., IEEE TIP 2021;30:5875)."""
    SCORECAM = "scorecam"
    """Weights are the logits of the image masked by each channel (Wang et al., CVPR-W 2020)."""
    GUIDED = "guided"
    """Guided backpropagation (Springenberg et al., 2015) times Grad-CAM."""


class Form(StrEnum):
    """A way to show a heatmap. None covers the tissue where the map is 0."""

    OVERLAY = "overlay"
    """The map's colours over the image, more opaque where it is higher; as the service's."""
    CONTOUR = "contour"
    """Lines at ``LEVELS``; the tissue stays as it is."""
    SIDE_BY_SIDE = "side-by-side"
    """The image as it is, and the overlay right of it."""


class Evidence(StrEnum):
    """Whose logit the heatmaps are for."""

    REPORTED = "reported"
    MALIGNANT = "malignant"
    BENIGN = "benign"


class Removed(StrEnum):
    """What stands where a pixel was deleted."""

    BLUR = "blur"
    BLACK = "black"
