"""The analysis worker's process: one warm ONNX session, some threads that wait on it."""

from __future__ import annotations

from collections.abc import Callable

from service.analysis.analyser import Analyser
from service.analysis.task import AnalysisTask
from service.config import Settings
from service.journal.records import Stage
from service.queue.process import Tools, run_worker


def run(settings: Settings) -> int:
    """Analyse until SIGTERM; returns the exit code.

    Raises ModelPackageError or JournalError if it cannot start.
    """
    return run_worker(
        settings,
        Stage.ANALYSIS,
        concurrency=settings.analysis.concurrency,
        port=settings.monitoring.analysis_port,
        make_handler=_handler,
    )


def _handler(tools: Tools) -> Callable[..., None]:
    return AnalysisTask(
        tools.settings,
        tools.spool,
        tools.journal,
        Analyser(tools.settings.analysis),
        tools.publisher.delivery,
        tools.metrics,
    ).run
