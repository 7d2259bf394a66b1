"""The scores of a lesion's views become one, whatever their order."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_sr.fusion import FusionRule, fuse

views = st.lists(st.floats(0, 1), min_size=1, max_size=6)
rules = st.sampled_from(FusionRule)


@given(views, rules, st.randoms())
def test_the_fused_score_lies_among_those_of_the_views_in_any_order(
    probabilities, rule, random
) -> None:
    fused = fuse(probabilities, rule)
    assert min(probabilities) <= fused <= max(probabilities)
    shuffled = random.sample(probabilities, len(probabilities))
    assert fuse(shuffled, rule) == fused


@given(st.floats(0, 1), st.integers(1, 5), rules)
def test_views_that_agree_leave_the_score_as_it_is(probability, count, rule) -> None:
    assert fuse([probability] * count, rule) == probability


@given(views, rules, st.data())
def test_a_view_that_is_more_suspicious_never_makes_the_lesion_less_so(
    probabilities, rule, data
) -> None:
    row = data.draw(st.integers(0, len(probabilities) - 1))
    raised = list(probabilities)
    raised[row] = data.draw(st.floats(probabilities[row], 1))
    assert fuse(raised, rule) >= fuse(probabilities, rule) - 1e-12


def test_the_rules_are_those_that_their_names_say() -> None:
    pair = [0.5, 0.8]
    assert fuse(pair, FusionRule.MAXIMUM) == 0.8
    assert fuse(pair, FusionRule.MEAN_OF_PROBABILITIES) == pytest.approx(0.65)
    # Odds of 1 and 4: their geometric mean is 2.
    assert fuse(pair, FusionRule.MEAN_OF_LOGITS) == pytest.approx(2 / 3)


@pytest.mark.parametrize("rule", FusionRule)
def test_certain_views_do_not_break_the_rule(rule: FusionRule) -> None:
    assert 0 <= fuse([0.0, 1.0], rule) <= 1


@pytest.mark.parametrize("wrong", [[], [1.1], [-0.1, 0.5], [math.nan]])
def test_what_is_no_probability_is_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match=r"view|probability"):
        fuse(wrong)
