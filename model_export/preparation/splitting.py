"""Training, validation and test patients, stratified by label and BI-RADS category."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from typing import TypeVar

import numpy as np
from sklearn.model_selection import train_test_split

Stratum = tuple[str, str]
"""Label and BI-RADS category of a patient's lesion."""

_Name = TypeVar("_Name", str, Stratum)


def split_patients(
    strata: Mapping[str, Stratum], test_share: float, validation_share: float, seed: int
) -> dict[str, str]:
    """Give each patient one of ``train``, ``validation`` and ``test``.

    strata: by patient. test_share: 0–1 of all patients. validation_share: 0–1 of the others.

    In each label and in each stratum the number of patients is the share's, rounded up or down, so
    that their sum is the share of all. The order of ``strata`` does not matter. Raises ValueError
    for a share outside of its range.
    """
    if not 0 < test_share < 1 or not 0 <= validation_share < 1:
        raise ValueError("the test share lies between 0 and 1, the validation share from 0 below 1")
    random = np.random.default_rng(seed)
    test = _draw(strata, test_share, random)
    others = {patient: strata[patient] for patient in strata.keys() - test}
    validation = _draw(others, validation_share, random)
    return {
        patient: "test" if patient in test else "validation" if patient in validation else "train"
        for patient in strata
    }


def _draw(strata: Mapping[str, Stratum], share: float, random: np.random.Generator) -> set[str]:
    """A share of the patients: how many of each label first, then of each of its strata."""
    members: dict[Stratum, list[str]] = defaultdict(list)
    for patient in sorted(strata):
        members[strata[patient]].append(patient)
    labels: dict[str, int] = defaultdict(int)
    for (label, _), patients in members.items():
        labels[label] += len(patients)
    exact = Fraction(str(share))
    drawn: set[str] = set()
    for label, most in _quotas(labels, exact, round(exact * len(strata)), random).items():
        sizes = {name: len(found) for name, found in members.items() if name[0] == label}
        for name, quota in _quotas(sizes, exact, most, random).items():
            drawn.update(_sample(members[name], quota, random))
    return drawn


def _quotas(
    sizes: Mapping[_Name, int], share: Fraction, total: int, random: np.random.Generator
) -> dict[_Name, int]:
    """Whole numbers that sum to ``total``, each ``share × size`` rounded up or down.

    The largest remainders are rounded up; chance decides between equal ones. ``share`` is exact,
    for 0.29 × 100 in floating point is below 29. ``total`` is the sum of ``share × size`` rounded
    up or down.
    """
    names = sorted(sizes)
    names = [names[place] for place in random.permutation(len(names))]
    quotas = {name: math.floor(share * sizes[name]) for name in names}
    names.sort(key=lambda name: quotas[name] - share * sizes[name])
    for name in names[: total - sum(quotas.values())]:
        quotas[name] += 1
    return quotas


def _sample(patients: list[str], size: int, random: np.random.Generator) -> list[str]:
    if size in (0, len(patients)):  # scikit-learn refuses an empty side
        return patients[:size]
    chosen = train_test_split(
        patients, test_size=size, random_state=int(random.integers(2**32 - 1))
    )[1]
    return list(chosen)
