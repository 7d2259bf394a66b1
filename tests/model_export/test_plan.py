"""The training plan: from TOML, with overrides, and refused with the key's name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model_export.network import Classifier
from model_export.training.module import TrainingModule, rate_factor
from model_export.training.plan import TrainingPlan, read_plan


def test_a_plan_comes_from_toml_and_options_win(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('backbone = "vgg16"\nstages = [[96, 2], [128, 3]]\nseed = 1\n')
    plan = read_plan(file, {"seed": 5})
    assert (plan.backbone, plan.epochs, plan.final_size, plan.seed) == ("vgg16", 5, 128, 5)
    assert [plan.size_at(epoch) for epoch in range(5)] == [96, 96, 128, 128, 128]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"learning_rat": 1}, "learning_rat"),
        ({"backbone": "resnet18"}, "backbone"),
        ({"stages": []}, "stages"),
        ({"dropout": 1.5}, "dropout"),
        ({"backbone": "vit_b_16", "stages": [[96, 1], [128, 1]]}, "one input size"),
        ({"backbone": "vit_b_16", "stages": [[96, 1]], "deployed_size": 128}, "one input size"),
    ],
)
def test_a_mistake_is_named(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_plan(None, overrides)


def test_what_is_no_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text("stages = [[")
    with pytest.raises(ValueError, match=r"plan\.toml is not TOML"):
        read_plan(file, {})


def test_the_last_stage_is_judged_at_the_deployed_size() -> None:
    plan = TrainingPlan(stages=((96, 1), (128, 2)), deployed_size=160)
    assert [plan.size_at(epoch) for epoch in range(3)] == [96, 128, 128]
    assert [plan.judged_size_at(epoch) for epoch in range(3)] == [96, 160, 160]
    assert plan.preprocessing().size == 160


def test_the_rate_rises_and_falls() -> None:
    assert rate_factor(0.0, 0.1) == pytest.approx(0.05)
    assert rate_factor(0.1, 0.1) == pytest.approx(1.0)
    assert rate_factor(1.0, 0.1) == pytest.approx(0.01)


def test_the_first_layer_gets_its_share_and_the_head_its_own_rate() -> None:
    plan = TrainingPlan(
        backbone="alexnet", learning_rate=1e-3, head_learning_rate=4e-3, first_layer_share=0.1
    )
    module = TrainingModule(Classifier("alexnet", 64), plan, torch.ones(2), steps=10)
    module.configure_optimizers()
    groups = list(module._groups())
    rates = [group["lr"] for group in groups]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[-1] == pytest.approx(4e-3)
    assert rates[:-2] == sorted(rates[:-2])
    assert max(rates[:-2]) == pytest.approx(1e-3)
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in module.parameters())
