"""Configuration, character sets and ports in ``docs/conformance.md`` are those of the code."""

from __future__ import annotations

import pytest

from service.config import Settings
from service.destination import (
    BasicAuthentication,
    CharacterSet,
    ClientTls,
    DimseDestination,
    OAuth2Authentication,
    StowDestination,
)
from service.ingest.settings import IngestSettings, IngestTls, PeerRule
from service.sections import DeliverySettings, ResultSettings, RetrySettings, SyslogSettings

from .created_objects import created_objects
from .statement import character_set_rows, column, setting_rows, tables

COMMON = setting_rows(DimseDestination)


@pytest.mark.parametrize(
    ("number", "rows"),
    [
        ("6-1", setting_rows(ResultSettings, "results.") + setting_rows(RetrySettings, "retry.")),
        ("6-2", setting_rows(IngestSettings, "ingest.")),
        ("6-3", setting_rows(DeliverySettings, "delivery.")),
        ("6-4", setting_rows(DimseDestination)),
        ("6-5", [row for row in setting_rows(StowDestination) if row not in COMMON]),
        ("6-6", setting_rows(BasicAuthentication)),
        ("6-7", setting_rows(OAuth2Authentication)),
        ("6-8", setting_rows(PeerRule)),
        ("6-9", setting_rows(IngestTls)),
        ("6-10", setting_rows(ClientTls)),
        ("6-11", setting_rows(SyslogSettings)),
    ],
)
def test_configuration(number: str, rows: list[tuple[str, str, str]]) -> None:
    listed = [(row["Parameter"], row["Default"], row["Range"]) for row in tables()[number]]
    assert listed == rows


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_character_sets() -> None:
    listed = {}
    for row in tables()["5-3"]:
        for declared in row["The image declares"].split(", "):
            same = row["The result declares"] == "the same"
            listed[declared] = declared if same else row["The result declares"]
    assert listed == dict(character_set_rows())


def test_character_sets_of_destinations() -> None:
    assert column("5-4", "character_set") == [policy.value for policy in CharacterSet]
    written = {
        each.variant.get("SpecificCharacterSet")
        for objects in created_objects().values()
        for each in objects
    }
    assert set(column("5-4", "Specific Character Set")[1:]) <= written


def test_listening_ports() -> None:
    settings = Settings()
    for row in tables()["8-1"]:
        section, _, key = row["Configured by"].partition(".")
        values = getattr(settings, section)
        assert row["Port"] == str(getattr(values, key)), row
        assert row["Address"] == ("127.0.0.1" if section == "broker" else values.host), row
    keys = {
        f"{section}.{key}"
        for section in ("ingest", "broker", "monitoring", "delivery", "keeper", "analysis", "web")
        for key in type(getattr(settings, section)).model_fields
        if key.endswith("port")
    }
    assert set(column("8-1", "Configured by")) == keys
