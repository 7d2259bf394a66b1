"""What JSON can hold, of the values that reports are made of."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from model_export.statistics import Proportion


def plain(value: Any) -> Any:
    """A JSON value: what is not finite becomes null, a Proportion its value and interval."""
    if isinstance(value, Proportion):
        value = {**asdict(value), "value": value.value, "lower": value.lower, "upper": value.upper}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
