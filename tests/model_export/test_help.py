"""The list of commands says what each command's own help says, and needs no torch."""

from __future__ import annotations

import pytest

from model_export.cli.app import COMMANDS
from service.cli.lazy import load


@pytest.mark.parametrize("name", COMMANDS)
def test_its_help_begins_with_what_the_list_says(name: str) -> None:
    text = load(name, COMMANDS[name]).help
    assert " ".join(text.split("\n\n")[0].split()) == COMMANDS[name].help
