"""The short storm that CI rides: ``make chaos IMAGES=200 SEED=7``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.faults import STEPS

REPOSITORY = Path(__file__).resolve().parents[2]
KINDS = {
    *("kill ingest", "kill analysis", "kill decoder", "kill delivery", "kill keeper"),
    *("kill broker", "kill broker, wiped", "kill database", "kill PACS", "kill everything"),
    *("freeze ingest", "freeze analysis", "freeze delivery", "freeze keeper", "freeze broker"),
    *("freeze analysis for good", "freeze database"),
    *("freeze ingest in a transaction", "PACS cut off in mid-object"),
    *("PACS hangs", "PACS drops the connection", "PACS down for a day"),
    *("PACS answers A700", "PACS answers C001", "PACS answers A900"),
    *("disk full", "clock an hour forward", "clock an hour back"),
    *("scanner aborts in mid-object", "scanner sends again", "scanner sends changed content"),
    *(f"kill {step}" for step in STEPS),
}
NEEDS_RIGHTS = "disk full"


@pytest.mark.timeout(1800)
def test_nothing_is_lost_or_doubled_whatever_dies() -> None:
    folder = REPOSITORY / "build" / "chaos"
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--images", "200", "--seed", "7"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1700,
        check=False,
    )
    told = json.loads((folder / "report.json").read_text()) if not done.returncode else {}
    assert done.returncode == 0, done.stdout[-6000:]
    assert told["acknowledged"] >= 200
    assert (told["lost"], told["doubled"], told["orphans"]) == (0, 0, 0), told["details"]
    missing = KINDS - told["faults"].keys()
    assert missing <= {NEEDS_RIGHTS}, missing
