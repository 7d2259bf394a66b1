"""``secondread reanalyse --since``: many images again, by the active or by another model."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from service.analysis.model_package import MANIFEST_FILE
from service.analysis.model_store import ModelStore
from service.audit.trail import AuditTrail
from service.cli.reanalyse import reanalyse
from service.journal.records import ImageFilter, ImageState
from service.orders import Orders
from service.reanalysis import Reanalysis
from service.sections import REFERENCE_MODEL

DAY = 24 * 3600
Answer = tuple[int, dict[str, Any]]


@pytest.fixture
def command(office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Exit code and JSON of ``secondread reanalyse …``."""
    for name in os.environ:
        if name.startswith("SECONDREAD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    app = typer.Typer()
    app.command()(reanalyse)
    config = tmp_path / "secondread.toml"
    config.write_text(f'data_dir = "{office.settings.data_dir}"')

    def run(*arguments: str) -> Answer:
        result = CliRunner().invoke(app, [*arguments, "--json", "--config", str(config)])
        return result.exit_code, json.loads(result.stdout) if result.stdout else {}

    return run


def study(number: int) -> str:
    return f"1.2.826.0.1.77.{number}"


@pytest.fixture
def three_days(office) -> list[str]:
    """Keys of an image a day, on 1, 2 and 3 March at noon, scored by a model that is not active;
    each is a study."""
    keys = []
    for number in (1, 2, 3):
        key = office.image(number, StudyInstanceUID=study(number))
        keys.append(office.scored(key, 0.3))
        office.wait(DAY)
    return keys


def install_another(office, tmp_path: Path) -> str:
    source = tmp_path / "another"
    shutil.copytree(REFERENCE_MODEL, source)
    manifest = source / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace('"version": "2.', '"version": "9.'))
    return ModelStore(office.settings).install(source, lambda _: None).sha256


def states(office, keys: list[str]) -> list[ImageState]:
    return [office.row(key).state for key in keys]


def test_what_was_received_in_a_time_goes_back_to_work(office, command, three_days) -> None:
    assert command("--since", "2026-03-02", "--until", "2026-03-03") == (
        0,
        {"done": 1, "not_done": []},
    )
    received, analysed = ImageState.RECEIVED, ImageState.ANALYSED
    assert states(office, three_days) == [analysed, received, analysed]
    code, told = command("--since", "2026-03-01T11:59:59")
    assert (code, told["done"]) == (0, 2)
    assert told["not_done"] == [{"reason": "it is at work, or has failed", "images": 1}]
    assert states(office, three_days) == [received] * 3


def test_a_study_is_taken_whole_though_a_part_of_it_came_at_another_time(
    office, command, three_days
) -> None:
    """One that is cut in two would have results of two models."""
    late = office.scored(office.image(4, StudyInstanceUID=study(1)), 0.6)
    assert command("--since", "2026-03-04")[1]["done"] == 2
    received, analysed = ImageState.RECEIVED, ImageState.ANALYSED
    assert states(office, [*three_days, late]) == [received, analysed, analysed, received]


def test_the_active_model_is_recorded_for_each_and_for_the_study(
    office, command, three_days
) -> None:
    active = ModelStore(office.settings).sha256_of(None)
    command("--since", "2026-03-02")
    jobs = [office.journal.lease_analysis(key, 10) for key in three_days[1:]]
    assert [job.model_asked for job in jobs] == [active] * 2
    assert (
        office.journal.lease_analysis(office.image(4, StudyInstanceUID=study(3)), 10).study_model
        == active
    )


def test_another_installed_model_can_be_asked_for(
    office, command, three_days, tmp_path: Path
) -> None:
    another = install_another(office, tmp_path)
    code, told = command("--since", "2026-03-03", "--model", another[:8])
    assert (code, told["done"]) == (0, 1)
    assert office.journal.lease_analysis(three_days[2], 10).model_asked == another
    code, told = command(three_days[0], "--model", another[:8])
    assert (code, told["done"]) == (0, 1)
    assert office.journal.lease_analysis(three_days[0], 10).model_asked == another


def test_a_dry_run_counts_and_changes_nothing(office, command, three_days) -> None:
    office.image(4)
    code, told = command("--since", "2026-03-01", "--dry-run")
    assert (code, told["would"]) == (0, 3)
    assert told["not_done"] == [{"reason": "it has no result that could be replaced", "images": 1}]
    assert states(office, three_days) == [ImageState.ANALYSED] * 3
    assert command("--since", "2027-01-01", "--dry-run") == (1, {"would": 0, "not_done": []})


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["1.2.3", "--since", "2026-03-01"],
        ["1.2.3", "--dry-run"],
        ["--until", "2026-03-01"],
        ["--since", "yesterday"],
        ["--since", "2026-03-01", "--model", "nobody@1"],
    ],
)
def test_what_makes_no_sense_is_refused(command, arguments: list[str]) -> None:
    assert command(*arguments)[0] == 2


def test_new_images_need_not_wait_behind_the_old(office, three_days) -> None:
    """With room for one, the next is ordered when the one before is done."""
    trail = AuditTrail(office.settings.audit_dir, office.metrics)
    orders = Orders(office.settings, office.journal, trail, "me")
    reanalysis = Reanalysis(office.journal, orders, None)
    choice = reanalysis.choose(ImageFilter())
    assert choice.keys == tuple(three_days), "the oldest first"
    ordered: list[str | None] = []
    thread = threading.Thread(target=lambda: ordered.extend(reanalysis.order(choice.keys, 1)))
    thread.start()
    for key in three_days:
        while office.row(key).state is not ImageState.RECEIVED:
            assert thread.is_alive()
            time.sleep(0.01)
        assert states(office, three_days).count(ImageState.RECEIVED) == 1
        office.scored(key, 0.8)
    thread.join(20)
    assert ordered == [None] * 3
