"""The split: no patient on both sides, the shares in each stratum, whatever the input."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_export.preparation.pseudonyms import pseudonyms
from model_export.preparation.splitting import Stratum, split_patients

STRATA = [
    (label, birads) for label in ("benign", "malignant") for birads in ("3", "4a", "4b", "4c")
]
PATIENTS = st.dictionaries(st.text(min_size=1, max_size=6), st.sampled_from(STRATA), max_size=120)
SHARES = st.sampled_from([0.1, 0.2, 0.25, 0.29, 0.3, 0.5, 0.7])
SEEDS = st.integers(0, 2**32)


@given(strata=PATIENTS, test=SHARES, validation=SHARES | st.just(0.0), seed=SEEDS)
@settings(max_examples=150, deadline=None)
def test_each_patient_once_and_each_share_within_one(
    strata: dict[str, Stratum], test: float, validation: float, seed: int
) -> None:
    part_of = split_patients(strata, test, validation, seed)
    assert part_of.keys() == strata.keys()
    assert set(part_of.values()) <= {"train", "validation", "test"}
    others = {patient for patient, part in part_of.items() if part != "test"}
    for part, share, among in (("test", test, strata.keys()), ("validation", validation, others)):
        # All patients, each label, each stratum: of a stratum (label, BI-RADS) the first n parts.
        for depth in range(3):
            sizes = Counter(strata[patient][:depth] for patient in among)
            drawn = Counter(
                strata[patient][:depth] for patient in among if part_of[patient] == part
            )
            for group, size in sizes.items():
                assert abs(drawn[group] - share * size) < 1 - 1e-9, (part, group)


@given(strata=PATIENTS, seed=SEEDS, shuffle=st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_order_of_rows_does_not_matter(
    strata: dict[str, Stratum], seed: int, shuffle: object
) -> None:
    rows = list(strata.items())
    shuffle.shuffle(rows)  # type: ignore[attr-defined]
    assert split_patients(dict(rows), 0.3, 0.2, seed) == split_patients(strata, 0.3, 0.2, seed)
    names = [patient for patient, _ in rows]
    assert pseudonyms(names, seed) == pseudonyms(list(strata), seed)


def test_the_seed_draws_other_patients_in_the_same_numbers() -> None:
    strata = {f"P{number}": STRATA[number % len(STRATA)] for number in range(100)}
    first, second = (split_patients(strata, 0.3, 0.2, seed) for seed in (1, 2))
    assert first != second
    assert (
        Counter(first.values())
        == Counter(second.values())
        == Counter({"test": 30, "validation": 14, "train": 56})
    )


def test_a_single_patient_of_a_stratum_is_not_always_on_the_same_side() -> None:
    strata = {"lone": STRATA[0]} | {f"P{number}": STRATA[1] for number in range(9)}
    parts = {split_patients(strata, 0.5, 0.0, seed)["lone"] for seed in range(20)}
    assert parts == {"train", "test"}


@pytest.mark.parametrize(("test", "validation"), [(0, 0.2), (1, 0.2), (0.3, 1), (0.3, -0.1)])
def test_shares_that_are_none(test: float, validation: float) -> None:
    with pytest.raises(ValueError, match="share lies between"):
        split_patients({"P": STRATA[0]}, test, validation, 1)


@given(patients=st.sets(st.text(min_size=1, max_size=6), max_size=50), seed=SEEDS)
def test_pseudonyms_are_numbers_and_different(patients: set[str], seed: int) -> None:
    names = pseudonyms(patients, seed)
    assert sorted(names.values()) == [f"p{number:04d}" for number in range(1, len(patients) + 1)]


def test_pseudonyms_do_not_keep_the_order_and_hang_on_the_whole_list() -> None:
    patients = [f"{number:05d}" for number in range(200)]
    names = pseudonyms(patients, 1)
    assert names != pseudonyms(patients, 2)
    in_order = [names[patient] for patient in patients]
    assert in_order != sorted(in_order)
    # With one patient more, nearly everyone is called otherwise: no name says who bears it.
    more = pseudonyms([*patients, "x"], 1)
    assert sum(more[patient] == names[patient] for patient in patients) < 10
