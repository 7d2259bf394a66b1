"""ONNX Runtime without its telemetry; import it from here only."""

from __future__ import annotations

import os

# The official Linux builds since 1.29 report to Microsoft and keep a device identifier on disk.
# Only this, before the import, prevents all of it: disable_telemetry_events() comes too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

__all__ = ["ort"]
