"""The units for a plain server: systemd understands them, and they fit the code."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from service.config import Settings
from service.programs import broker_program, programs
from tests.conftest import REPOSITORY, _binary
from tests.system.commands import parsed_command

FOLDER = REPOSITORY / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("secondread*.service"))
SERVICE = (FOLDER / "secondread.service").read_text()
EXPOSURE = 20
"""Of 100; what systemd itself calls OK ends at 40. An open service has 96."""


def directive(unit: str, name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)
    return str(found)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they are installed, but for the program's place."""
    program = tmp_path / "secondread"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    folder = tmp_path / "system"
    folder.mkdir()
    for path in [*UNITS, *FOLDER.glob("*.timer")]:
        text = path.read_text().replace("/opt/secondread/bin/secondread", str(program))
        (folder / path.name).write_text(text)
    extension = folder / "secondread.service.d"
    extension.mkdir()
    (extension / "gpu.conf").write_text((FOLDER / "secondread-gpu.conf").read_text())
    return folder


def test_systemd_has_nothing_to_say_of_them(installed: Path) -> None:
    units = [path for path in installed.iterdir() if path.is_file()]
    assert len(units) == 4
    done = subprocess.run(
        [_binary("systemd-analyze"), "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_it_can_do_little_harm(unit: Path) -> None:
    command = [_binary("systemd-analyze"), "security", "--offline=true"]
    command += [f"--threshold={EXPOSURE}", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_it_is_never_root_and_its_files_are_its_own(unit: Path) -> None:
    text = unit.read_text()
    assert directive(text, "User") == "secondread"
    assert directive(text, "UMask") == "0077"
    assert directive(text, "ProtectSystem") == "strict"
    variable = directive(text, "Environment")
    assert variable.startswith("SECONDREAD_DATA_DIR=")
    assert variable.partition("=")[2] in directive(text, "ReadWritePaths").split()


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_its_command_is_one_of_ours(unit: Path) -> None:
    words = shlex.split(directive(unit.read_text(), "ExecStart"))
    if words[0] == "/bin/sh":
        words = shlex.split(words[2].removeprefix("exec "))
    program, *arguments = words
    assert program == "/opt/secondread/bin/secondread"
    parsed = parsed_command(arguments)
    assert parsed.params["config"] == Path("/etc/secondread/secondread.toml")


def test_it_waits_for_as_long_as_the_supervisor_may_need(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    groups = [*programs(settings, None), [broker_program(settings)]]
    longest = sum(max(program.stop_seconds for program in group) for group in groups)
    patience = float(directive(SERVICE, "TimeoutStopSec"))
    assert longest < patience < 2 * longest
    assert directive(SERVICE, "KillMode") == "mixed", "the supervisor ends its children in order"
