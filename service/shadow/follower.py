"""The shadow at work beside an analysis worker: it follows when nothing else is to be done."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from service.analysis.model_package import ModelPackageError
from service.analysis.model_store import ModelStore
from service.config import Settings
from service.exchange import ChildDied
from service.journal.journal import Journal, JournalError
from service.journal.shadow_records import Said, ScoringModel, ShadowState
from service.log import fault
from service.monitoring.metrics import Metrics
from service.outage import Outage
from service.queue.process import Tools
from service.shadow.scorer import IMAGE_SECONDS, ShadowFailed, ShadowScorer, ShadowUnusable
from service.spool import Spool

log = logging.getLogger(__name__)

WITHIN = timedelta(days=1)
"""So old may an image be: what the day leaves over is scored in the night."""
_BATCH = 50
_PAUSE_SECONDS = 1.0
_AGAIN_SECONDS = 60.0
"""Before a model is loaded again that could not be, or whose process died."""
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class _Loaded:
    """package: by which name the store has it."""

    package: str
    model: ScoringModel
    scorer: ShadowScorer


class ShadowFollower:
    """A thread that hands images whose results are out to the shadow, one after the other.

    It does so only while no image of the service is being analysed or could be, and is stopped in
    the middle of one where another comes. The model is in a child process that gives way to all
    others, so that nothing which becomes of it there harms this one.

    store: says which model is the shadow, now and later.
    image_seconds: see ShadowScorer.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        journal: Journal,
        metrics: Metrics,
        store: ModelStore,
        image_seconds: float = IMAGE_SECONDS,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._journal = journal
        self._metrics = metrics
        self._store = store
        self._image_seconds = image_seconds
        self._loaded: _Loaded | None = None
        self._not_before = float("-inf")
        self._trouble = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Whatever it is at is left, and may be begun anew."""
        self._stopping.set()
        loaded = self._loaded
        if loaded is not None:
            loaded.scorer.kill()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        self._unload()

    def _work(self) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS):
            try:
                self.look()
            except (JournalError, ModelPackageError, ShadowUnusable) as error:
                self._cannot(str(error))
            except Exception as error:  # noqa: BLE001 it must not take the worker with it
                self._cannot(fault(error))

    def look(self) -> None:
        """Score some images, if there are any, and nothing else is to be done.

        Raises JournalError, ModelPackageError, ShadowUnusable.
        """
        named = self._store.state().shadow
        if self._loaded is not None and self._loaded.package != named:
            self._unload()
        if named is None or time.monotonic() < self._not_before or self._must_wait():
            return
        loaded = self._loaded or self._load(named)
        for key in self._journal.unseen_by_shadow(loaded.model.sha256, WITHIN, _BATCH):
            if self._loaded is None or self._must_wait():
                return
            if self._journal.begin_shadow(key, loaded.model):
                self._follow(loaded, key)
        self._trouble = ""

    def _must_wait(self) -> bool:
        if self._stopping.is_set():
            return True
        try:
            return self._journal.analysis_waits()
        except JournalError:
            return True

    def _load(self, named: str) -> _Loaded:
        self._not_before = time.monotonic() + _AGAIN_SECONDS
        package = self._store.package(named)
        scorer = ShadowScorer(
            package.folder,
            self._settings.analysis,
            self._settings.data_dir / "engines",
            self._must_wait,
            self._image_seconds,
        )
        self._not_before = float("-inf")
        manifest = package.manifest
        model = ScoringModel(manifest.sha256, manifest.name, manifest.version)
        self._loaded = _Loaded(named, model, scorer)
        labels = (model.name, model.version, model.sha256, scorer.provider)
        self._metrics.shadow_model.labels(*labels).set(1)
        log.info("%s %s follows as a shadow", model.name, model.version)
        return self._loaded

    def _follow(self, loaded: _Loaded, key: str) -> None:
        said = self._said(loaded.scorer, key)
        if said is None:
            self._journal.release_shadow(key, loaded.model)
            return
        self._journal.record_shadow(key, loaded.model, said)
        self._metrics.shadow_images.labels(said.state).inc()
        log.info("%s shadow: %s %s", key, said.state, said.reason or "")

    def _said(self, scorer: ShadowScorer, key: str) -> Said | None:
        """None if it was stopped meanwhile, or the spool is away."""
        try:
            path = self._spool.image_path(key)
            if not path.is_file():
                return Said(ShadowState.FAILED, "not-in-spool")
            return scorer.score(path)
        except Outage:
            return None
        except ShadowFailed as error:
            log.error("%s shadow: it broke off: %s", key, error)
            return Said(ShadowState.FAILED, "broke-off")
        except (ChildDied, TimeoutError) as error:
            self._unload()
            if self._stopping.is_set():
                return None
            self._not_before = time.monotonic() + _AGAIN_SECONDS
            late = isinstance(error, TimeoutError)
            log.error("%s shadow: %s", key, "too slow, killed" if late else "its process died")
            return Said(ShadowState.FAILED, "too-slow" if late else "died")

    def _unload(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.scorer.close()
        self._metrics.shadow_model.clear()

    def _cannot(self, why: str) -> None:
        """Said once, not each second."""
        if why != self._trouble:
            log.error("the shadow cannot follow: %s", why)
        self._trouble = why


@contextmanager
def shadow_follows(tools: Tools) -> Iterator[None]:
    """While the block runs, beside an analysis worker."""
    store = ModelStore(tools.settings)
    follower = ShadowFollower(tools.settings, tools.spool, tools.journal, tools.metrics, store)
    follower.start()
    try:
        yield
    finally:
        follower.stop()
