"""Which model package is used for what, as ``active.json`` of the model store has it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.destination import AeTitle

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""Of a whole package, see ``package_sha256``."""


class Canary(BaseModel):
    """The model that some new studies get.

    share: of all studies, 0–1, by a hash of their UID. scanners: calling AE titles whose studies
        all get it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Sha256
    share: float = Field(default=0, ge=0, le=1)
    scanners: tuple[AeTitle, ...] = ()


class State(BaseModel):
    """``active.json``: which package is used for what.

    active: for new studies; None: that of ``analysis.model``. previous: what was active before.
    activated_at: since when.
    shadow: scores silently beside them, see ``service.shadow``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    active: Sha256 | None = None
    previous: Sha256 | None = None
    activated_at: datetime | None = None
    canary: Canary | None = None
    shadow: Sha256 | None = None


def with_active(state: State, sha256: str | None) -> State:
    """Active from now on; a canary or a shadow that is the same model ends."""
    if sha256 == state.active:
        return state
    canary = None if state.canary and state.canary.model == sha256 else state.canary
    return state.model_copy(
        update={
            "active": sha256,
            "previous": state.active,
            "activated_at": datetime.now(UTC),
            "canary": canary,
            "shadow": None if state.shadow == sha256 else state.shadow,
        }
    )
