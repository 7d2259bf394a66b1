"""The analysis worker's process: one warm ONNX session, some threads that wait on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from service.analysis.analyser import Analyser
from service.analysis.inference import InferenceError
from service.analysis.model_package import ModelPackageError
from service.analysis.task import AnalysisTask
from service.config import ConfigurationError, Settings
from service.journal.records import Stage
from service.monitoring.metrics import Metrics
from service.queue.process import Handlers, Tools, run_worker
from service.results import ResultCheck


def run(settings: Settings) -> int:
    """Analyse until SIGTERM; returns the exit code.

    Raises ConfigurationError if the model cannot be used as configured, or JournalError.
    """
    return run_worker(
        settings,
        concurrency=settings.analysis.concurrency,
        process=Stage.ANALYSIS,
        port=settings.monitoring.analysis_port,
        open_handlers=_handlers,
    )


@contextmanager
def _handlers(tools: Tools) -> Iterator[Handlers]:
    with closing(_analyser(tools.settings, tools.metrics)) as analyser:
        _name_the_model(tools.metrics, analyser)
        tools.checks.append(analyser.what_is_wrong)
        if (triton := tools.settings.analysis.triton) is not None:
            up = tools.metrics.triton_up.labels(triton.url)
            up.set_function(lambda: float(analyser.what_is_wrong() is None))
        task = AnalysisTask(
            tools.settings,
            tools.spool,
            tools.journal,
            analyser,
            tools.publisher.delivery,
            tools.metrics,
            tools.tracer,
        )
        yield {Stage.ANALYSIS: task.run}


def _analyser(settings: Settings, metrics: Metrics) -> Analyser:
    try:
        return Analyser(
            settings.analysis,
            settings.data_dir / "engines",
            wanted=settings.wanted,
            check=ResultCheck(settings.results.dciodvfy),
            on_run=metrics.batch_images.observe,
        )
    except (ModelPackageError, InferenceError) as error:
        raise ConfigurationError(f"analysis: {error}") from error


def _name_the_model(metrics: Metrics, analyser: Analyser) -> None:
    model = analyser.package.manifest
    metrics.model.labels(model.name, model.version, model.sha256, analyser.provider).set(1)
