"""A measured figure."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Peer:
    """What a figure is compared with. value: the same quantity, measured in the same run."""

    name: str
    value: float


@dataclass(frozen=True)
class Figure:
    """name: what was measured. unit: of value, and of the peer's.

    goal: ``≥ 4`` or ``≤ 25``, of the ratio to the peer where there is one, else of the value;
        empty where there is none.
    load: the machine's load average over one minute, just before.
    detail: what the value comes from.
    """

    name: str
    value: float
    unit: str
    goal: str = ""
    peer: Peer | None = None
    load: float | None = None
    detail: str = ""

    @property
    def ratio(self) -> float | None:
        """Of ours to the peer's."""
        return self.value / self.peer.value if self.peer else None

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        if not self.goal:
            return None
        bound, number = self.goal.split()
        judged = self.value if self.ratio is None else self.ratio
        return judged <= float(number) if bound == "≤" else judged >= float(number)

    def as_row(self) -> dict[str, object]:
        """As it stands in ``report.json``."""
        return {**asdict(self), "ratio": self.ratio, "met": self.met}
