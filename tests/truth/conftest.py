"""A service's folder with analysed studies, and its commands in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.config import Settings
from service.journal.journal import Journal
from service.journal.records import AnalysisOutcome, ImageState, ReceivedImage

SCORED = AnalysisOutcome(
    state=ImageState.ANALYSED,
    model_sha256="a" * 64,
    model_name="n",
    model_version="7",
    frame=1,
    frames_scored=1,
    region=(0, 0, 10, 10),
    probability_malignant=0.9,
    probability_benign=0.1,
    threshold=0.5,
    decision="malignant",
    scanner_model="A",
)


class Site:
    """journal: of the service in ``folder``. Study n is ``1.2.900.n``, its images ``1.2.n.m``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(data_dir=folder / "data")
        self.journal = Journal(self.settings.journal_url)
        self.journal.migrate()

    def analysed(self, study: int, probability: float, number: int = 1, **different: object) -> str:
        """The key of a new analysed image."""
        key = f"{study:016x}{number:016x}"
        came = ReceivedImage(
            key=key,
            sop_instance_uid=f"1.2.{study}.{number}",
            sop_class_uid="1.2",
            transfer_syntax_uid="1.2",
            digest="d",
            size_bytes=1,
            calling_ae_title="ROOM1",
            received_at=datetime.now(UTC),
            study_instance_uid=f"1.2.900.{study}",
        )
        self.journal.record_received(came)
        job = self.journal.lease_analysis(key, 60)
        assert job is not None
        outcome = replace(
            SCORED,
            probability_malignant=probability,
            probability_benign=1 - probability,
            decision="malignant" if probability >= 0.5 else "benign",
            **different,  # type: ignore[arg-type]
        )
        assert self.journal.record_outcome(job, outcome, {})
        return key

    def table(self, *rows: str, head: str = "study_instance_uid,diagnosis,date,source") -> Path:
        file = self.folder / "pathology.csv"
        file.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
        return file

    def secondread(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                "COLUMNS": "200",
                "SECONDREAD_DATA_DIR": str(self.settings.data_dir),
            },
        )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.journal.close()
