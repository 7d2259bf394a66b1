"""What the storage SCP accepts (SOP classes: PS3.4 Annex B; transfer syntaxes: PS3.5 Annex A)."""

from __future__ import annotations

ANALYSED = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.6.1",  # Ultrasound Image
        "1.2.840.10008.5.1.4.1.1.3.1",  # Ultrasound Multi-frame Image
        "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound Image (retired)
        "1.2.840.10008.5.1.4.1.1.3",  # Ultrasound Multi-frame Image (retired)
    }
)
"""Images that are analysed."""

IGNORED = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture Image
        "1.2.840.10008.5.1.4.1.1.7.1",  # Multi-frame Single Bit SC Image
        "1.2.840.10008.5.1.4.1.1.7.2",  # Multi-frame Grayscale Byte SC Image
        "1.2.840.10008.5.1.4.1.1.7.3",  # Multi-frame Grayscale Word SC Image
        "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color SC Image
        "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR
        "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
        "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR (a router returns our own)
        "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection Document
        "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State
        "1.2.840.10008.5.1.4.1.1.11.2",  # Color Softcopy Presentation State
        "1.2.840.10008.5.1.4.1.1.11.3",  # Pseudo-Color Softcopy Presentation State
        "1.2.840.10008.5.1.4.1.1.11.4",  # Blending Softcopy Presentation State
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation (ours again)
        "1.2.840.10008.5.1.4.1.1.6.2",  # Enhanced US Volume
    }
)
"""Objects that a scanner sends in the same association: stored, recorded, never analysed.
To refuse one would fail the scanner's whole send."""

TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian (retired)
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, Selection Value 1
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
)
"""Accepted transfer syntaxes, in our order of preference within one presentation context."""


def ignored_reason(sop_class_uid: str) -> str | None:
    """Reason code of what is stored and recorded, but never analysed; None for an image."""
    return None if sop_class_uid in ANALYSED else "sop-class-not-analysed"
