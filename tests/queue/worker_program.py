"""A worker process as the tests start it: real but for what it does with an image.

Arguments: broker URL, folder, seconds, seconds until deaf. It appends each key to
``folder/started`` when a message arrives, and to ``folder/done`` after ``seconds``. Where
``folder/journal.sqlite3`` exists it runs an AnalysisTask, whose analyser does the same.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path

from service.analysis.analyser import Analysis
from service.analysis.task import AnalysisTask
from service.config import Settings
from service.journal.journal import Journal
from service.journal.records import AnalysisJob, AnalysisOutcome, ImageState, Stage
from service.log import set_up_logging
from service.monitoring.metrics import Metrics
from service.queue.publisher import Publisher
from service.queue.worker import Worker
from service.sections import KeeperSettings
from service.spool import Spool


class SlowAnalyser:
    """Finds every image malignant, after a while."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder = folder
        self._seconds = seconds

    def note(self, key: str) -> None:
        with (self._folder / "started").open("a") as started:
            started.write(f"{key}\n")
        time.sleep(self._seconds)
        with (self._folder / "done").open("a") as done:
            done.write(f"{key}\n")

    def analyser_for(self, job: AnalysisJob) -> nullcontext[SlowAnalyser]:
        return nullcontext(self)

    def analyse(self, path: Path, **edition: object) -> Analysis:
        self.note(path.stem)
        return Analysis(AnalysisOutcome(ImageState.ANALYSED, "0" * 64, ("sr.dcm",)), ())


def main() -> int:
    url, folder = sys.argv[1], Path(sys.argv[2])
    analyser = SlowAnalyser(folder, float(sys.argv[3]))
    handle = analyser.note
    if (folder / "journal.sqlite3").exists():
        settings = Settings(data_dir=folder, keeper=KeeperSettings(lease=2))
        handle = AnalysisTask(
            settings,
            Spool(folder / "spool"),
            Journal(settings.journal_url),
            analyser,
            Publisher(url).delivery,
            Metrics(),
        ).run
    set_up_logging("analysis", "INFO")
    worker = Worker(
        {Stage.ANALYSIS: handle},
        url,
        concurrency=1,
        stop_seconds=4,
        deaf_seconds=float(sys.argv[4]),
    )
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
