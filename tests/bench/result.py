"""A measured figure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """name: what was measured. goal: as the plan states it. detail: what the value comes from."""

    name: str
    value: float
    goal: str
    detail: str

    @property
    def met(self) -> bool:
        bound, number = self.goal.split()[:2]
        return self.value <= float(number) if bound == "≤" else self.value >= float(number)
