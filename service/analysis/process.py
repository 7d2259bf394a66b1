"""The analysis worker's process: warm models, some threads that wait on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from service.analysis.analyser import Analyser
from service.analysis.inference import InferenceError
from service.analysis.model_package import ModelPackage, ModelPackageError
from service.analysis.model_store import ModelStore
from service.analysis.models_in_hand import ModelsInHand
from service.analysis.task import AnalysisTask
from service.config import ConfigurationError, Settings
from service.journal.records import Stage
from service.queue.process import Handlers, Tools, run_worker
from service.results import ResultCheck
from service.shadow.follower import shadow_follows


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
    with closing(_models(tools)) as models, shadow_follows(tools):
        tools.checks.append(models.what_is_wrong)
        if (triton := tools.settings.analysis.triton) is not None:
            up = tools.metrics.triton_up.labels(triton.url)
            up.set_function(lambda: float(models.what_is_wrong() is None))
        task = AnalysisTask(
            tools.settings,
            tools.spool,
            tools.journal,
            models,
            tools.publisher.delivery,
            tools.metrics,
            tools.tracer,
        )
        yield {Stage.ANALYSIS: task.run}


def _models(tools: Tools) -> ModelsInHand:
    settings, metrics = tools.settings, tools.metrics
    check = ResultCheck(settings.results.dciodvfy)

    def load(package: ModelPackage) -> Analyser:
        return Analyser(
            settings.analysis,
            settings.data_dir / "engines",
            package=package,
            wanted=settings.wanted,
            check=check,
            on_run=metrics.batch_images.observe,
        )

    try:
        return ModelsInHand(ModelStore(settings), tools.journal, load, metrics)
    except (ModelPackageError, InferenceError) as error:
        raise ConfigurationError(f"analysis: {error}") from error
