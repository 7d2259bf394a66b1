"""Two models side by side: from the images that both have seen to what is said of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from service.journal.shadow_records import Pair, Said, ScoringModel, ShadowState
from service.journal.truth_records import Diagnosis, JudgedScore
from service.shadow.figures import Agreement, Both, agreement
from service.truth.cases import UNNAMED, image_cases, study_cases
from service.truth.figures import AucDifference, Estimate, auc, auc_difference

FEW_CASES = 10
"""With fewer malignant or fewer benign cases an AUC says nothing yet."""

_MALIGNANT = "malignant"


class Level(StrEnum):
    """What a case of pathology is, see ``service.truth.cases``."""

    STUDY = "study"
    IMAGE = "image"


@dataclass(frozen=True)
class Point:
    """One image that both have scored. diagnosis: None where pathology has said nothing."""

    active: float
    shadow: float
    diagnosis: Diagnosis | None


@dataclass(frozen=True)
class Known:
    """The cases whose pathology is known, and that both have scored.

    active, shadow: AUC. difference: shadow − active. None with fewer than two cases of a class.
    """

    level: Level
    malignant: int
    benign: int
    active: Estimate | None
    shadow: Estimate | None
    difference: AucDifference | None

    @property
    def few(self) -> bool:
        return min(self.malignant, self.benign) < FEW_CASES


@dataclass(frozen=True)
class Comparison:
    """A model whose results went out, and a shadow that saw the same images.

    first, last: when the first and the last of these images came.
    images: that the shadow has looked at.
    agreement: of those that both have scored; None if there is none. by_scanner: by scanner model.
    only_active, only_shadow, neither: images that one or both could not analyse.
    failed: images at which the shadow broke off, or was broken off. reasons: by code, why the
        shadow has no score.
    known: by study and by image.
    """

    active: ScoringModel
    shadow: ScoringModel
    first: datetime
    last: datetime
    images: int
    agreement: Agreement | None
    by_scanner: dict[str, Agreement]
    only_active: int
    only_shadow: int
    neither: int
    failed: int
    reasons: dict[str, int]
    known: tuple[Known, ...]
    points: tuple[Point, ...]


def comparisons(pairs: Sequence[Pair]) -> list[Comparison]:
    """One for each active model and shadow, that with the newest image first.

    pairs: in the order of reception.
    """
    groups: dict[tuple[ScoringModel, ScoringModel], list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.active_model, pair.shadow_model].append(pair)
    found = [_comparison(group) for group in groups.values()]
    return sorted(found, key=lambda each: each.last, reverse=True)


def _comparison(pairs: Sequence[Pair]) -> Comparison:
    scored = [pair for pair in pairs if _has_score(pair.active) and _has_score(pair.shadow)]
    scanners: dict[str, list[Both]] = defaultdict(list)
    for pair in scored:
        scanners[pair.scanner_model or UNNAMED].append(_both(pair))
    ended = [
        (_has_score(pair.active), _has_score(pair.shadow)) for pair in pairs if not _failed(pair)
    ]
    return Comparison(
        active=pairs[0].active_model,
        shadow=pairs[0].shadow_model,
        first=pairs[0].received_at,
        last=pairs[-1].received_at,
        images=len(pairs),
        agreement=agreement([_both(pair) for pair in scored]) if scored else None,
        by_scanner={name: agreement(images) for name, images in sorted(scanners.items())},
        only_active=ended.count((True, False)),
        only_shadow=ended.count((False, True)),
        neither=ended.count((False, False)),
        failed=sum(map(_failed, pairs)),
        reasons=dict(Counter(map(_reason, pairs)) - Counter({"": len(pairs)})),
        known=_known(scored),
        points=tuple(
            Point(_score(pair.active), _score(pair.shadow), pair.of_image or pair.of_study)
            for pair in scored
        ),
    )


def _has_score(said: Said) -> bool:
    return said.state is ShadowState.SCORED


def _failed(pair: Pair) -> bool:
    return pair.shadow.state in (ShadowState.BEGUN, ShadowState.FAILED)


def _reason(pair: Pair) -> str:
    return "broken-off" if pair.shadow.state is ShadowState.BEGUN else pair.shadow.reason or ""


def _score(said: Said) -> float:
    if said.probability_malignant is None:
        raise ValueError("there is no score")
    return said.probability_malignant


def _both(pair: Pair) -> Both:
    return Both(
        _score(pair.active),
        _score(pair.shadow),
        pair.active.decision == _MALIGNANT,
        pair.shadow.decision == _MALIGNANT,
    )


def _known(scored: Sequence[Pair]) -> tuple[Known, ...]:
    judged = [pair for pair in scored if pair.of_image or pair.of_study]
    active = [_judged(pair, pair.active) for pair in judged]
    shadow = [_judged(pair, pair.shadow) for pair in judged]
    levels = {Level.STUDY: study_cases, Level.IMAGE: image_cases}
    found = []
    for level, cases in levels.items():
        both = list(zip(cases(active), cases(shadow), strict=True))
        truth = np.array([case.malignant for case, _ in both], dtype=bool)
        first = np.array([case.score for case, _ in both])
        second = np.array([case.score for _, case in both])
        malignant, benign = int(truth.sum()), int((~truth).sum())
        enough = min(malignant, benign) >= 2
        found.append(
            Known(
                level,
                malignant,
                benign,
                auc(truth, first) if enough else None,
                auc(truth, second) if enough else None,
                auc_difference(truth, first, second) if enough else None,
            )
        )
    return tuple(found)


def _judged(pair: Pair, said: Said) -> JudgedScore:
    return JudgedScore(
        key=pair.key,
        study_instance_uid=pair.study_instance_uid,
        probability_malignant=_score(said),
        malignant=said.decision == _MALIGNANT,
        of_image=pair.of_image,
        of_study=pair.of_study,
    )
