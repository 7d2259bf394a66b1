"""Which loaded model an image gets; a change of the store is taken up without a restart."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from service.analysis.analyser import Analyser
from service.analysis.choosing_model import Choice
from service.analysis.inference import InferenceError
from service.analysis.loaded_models import LoadedModels
from service.analysis.model_package import ModelPackage, ModelPackageError
from service.analysis.model_store import ModelStore, State
from service.journal.journal import Journal
from service.journal.records import AnalysisJob
from service.log import fault
from service.monitoring.metrics import Metrics

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 30.0
"""After which a model that could not be loaded is tried again."""
_IDLE_SECONDS = 300.0
"""For which a model stays that only studies which have begun still get."""
_PATIENCE_SECONDS = 90.0
"""NFS looks at a folder anew after 60 seconds at the latest, unless told otherwise."""
_WAIT_SECONDS = 0.2


class AskedModelMissing(Exception):
    """The model that an operator asked for is not installed any more."""


class ModelsInHand:
    """The active model and the canary, warm; others while studies need them. Thread-safe.

    load: makes the analyser of a package.
    look_seconds: between two looks at the store. idle_seconds: after which a model that new studies
        do not get is closed. patience_seconds: for which a package may be invisible here.
    Raises what ``load`` raises if neither the active model nor the one before it can be loaded, or
    ModelPackageError.
    """

    def __init__(
        self,
        store: ModelStore,
        journal: Journal,
        load: Callable[[ModelPackage], Analyser],
        metrics: Metrics,
        *,
        look_seconds: float = _LOOK_SECONDS,
        idle_seconds: float = _IDLE_SECONDS,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._store = store
        self._journal = journal
        self._metrics = metrics
        self._look_seconds = look_seconds
        self._idle_seconds = idle_seconds
        self._patience_seconds = patience_seconds
        self._models = LoadedModels(lambda sha256: load(store.package(sha256)))
        self._seen = store.version()
        self._again_at = float("inf")
        self._absent: dict[str, float] = {}
        self._told: dict[tuple[str, ...], bool] = {}
        self._ended = threading.Event()
        try:
            self._choice = self._first_choice()
        except BaseException:
            self._models.close()
            raise
        self._tell()
        self._thread = threading.Thread(target=self._watch, name="models", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nobody may use an analyser any more."""
        self._ended.set()
        self._thread.join()
        self._models.close()

    @contextmanager
    def analyser_for(self, job: AnalysisJob) -> Iterator[Analyser]:
        """The model of the image's study, or the one that an operator asked for.

        Raises AskedModelMissing, JournalError, and what loading it raises.
        """
        with self._models.use(self._model_of(job)) as analyser:
            yield analyser

    def what_is_wrong(self) -> str | None:
        """Why new studies cannot be analysed now, in one line; None while all is well."""
        active = self._choice.active
        return self._models.all()[active].what_is_wrong()

    def look(self) -> None:
        """Take up what has changed in the store; close what is not needed."""
        version = self._store.version()
        if version != self._seen or time.monotonic() >= self._again_at:
            self._seen = version
            self._take_up()
        choice = self._choice
        keep = {choice.active, choice.canary or choice.active}
        self._models.close_idle(keep, self._idle_seconds)
        self._tell()

    def _model_of(self, job: AnalysisJob) -> str:
        """The same for all images of a study, whichever worker they come to: the journal has it."""
        if job.model_asked is not None:
            if not self._can_be_had(job.model_asked):
                raise AskedModelMissing
            return job.model_asked
        uid, choice = job.study_instance_uid, self._choice
        if uid is None or job.probe:
            return choice.active
        chosen = job.study_model
        if chosen is None:
            wanted = self._scored_by(job.scored_by)
            chosen = self._journal.choose_model(
                uid, wanted or choice.for_study(uid, job.calling_ae_title)
            )
        if not self._can_be_had(chosen):
            log.warning("%s: its study's model is not installed any more", job.key)
            self._metrics.models_missing.inc()
            chosen = self._journal.choose_model(uid, choice.active, instead_of=chosen)
        return chosen

    def _scored_by(self, model_sha256: str | None) -> str | None:
        """The package with this model file: for studies that were begun before the journal kept
        each study's package."""
        if model_sha256 is None:
            return None
        for sha256, analyser in self._models.all().items():
            if analyser.package.manifest.sha256 == model_sha256:
                return sha256
        return self._store.with_model_file(model_sha256)

    def _can_be_had(self, sha256: str) -> bool:
        """Waits for a package that is not there, once: to give the study another one is for good,
        and a network file system may show late what another machine has installed."""
        while not (sha256 in self._models.all() or self._store.has(sha256)):
            if time.monotonic() >= self._absent.setdefault(
                sha256, time.monotonic() + self._patience_seconds
            ):
                return False
            time.sleep(_WAIT_SECONDS)
        self._absent.pop(sha256, None)
        return True

    def _watch(self) -> None:
        while not self._ended.wait(self._look_seconds):
            try:
                self.look()
            except Exception:
                log.exception("the look at the models broke off")

    def _take_up(self) -> None:
        """What can be loaded of the new state; in place of what cannot, the old stays."""
        before = self._choice
        try:
            choice, error = self._load(
                self._store.state(), before.active, trusted=(before.active, before.canary)
            )
        except Exception as failure:  # noqa: BLE001 whatever it is, the old models work
            self._refused(failure)
            return
        self._choice = choice
        if error is not None:
            self._refused(error)
            return
        self._again_at = float("inf")
        self._metrics.model_refused.set(0)
        log.info("new studies get the model %s", choice.active[:12])

    def _first_choice(self) -> Choice:
        """Where the active model cannot be loaded, a worker that starts takes the one before it:
        else its next restart after a bad activation would be its last."""
        state = self._store.state()
        before = None
        if state.activated_at is not None:
            with suppress(ModelPackageError):
                before = self._store.sha256_of(state.previous)
        choice, error = self._load(state, before)
        if error is not None:
            self._refused(error)
        return choice

    def _load(
        self, state: State, before: str | None, trusted: Collection[str | None] | None = None
    ) -> tuple[Choice, Exception | None]:
        """before: what goes on if the active model cannot be loaded; without it that is raised.

        trusted: models that were in use before and need not show that they work now, while others
            must; None: none must, for a worker that starts waits for a server that is away.
        Also what kept a model from being loaded. A canary that cannot be loaded is none.
        """
        error: Exception | None = None
        try:
            active = self._loaded(self._store.sha256_of(state.active), trusted)
        except Exception as failure:
            if before is None:
                raise
            active, error = self._loaded(before), failure
        if state.canary is None:
            return Choice(active), error
        canary = state.canary
        try:
            self._loaded(canary.model, trusted)
        except Exception as failure:  # noqa: BLE001 whatever it is, the active model works
            return Choice(active), failure
        return Choice(active, canary.model, canary.share, frozenset(canary.scanners)), error

    def _loaded(self, sha256: str, trusted: Collection[str | None] | None = None) -> str:
        with self._models.use(sha256) as analyser:
            wrong = analyser.what_is_wrong()
            if wrong is not None and trusted is not None and sha256 not in trusted:
                raise InferenceError(wrong)
            return sha256

    def _refused(self, error: Exception) -> None:
        ours = isinstance(error, ModelPackageError | InferenceError)
        words = str(error) if ours else fault(error)
        log.error("a model cannot be used, the one before goes on: %s", words)
        self._metrics.model_refused.set(1)
        self._again_at = time.monotonic() + _AGAIN_SECONDS

    def _tell(self) -> None:
        told: dict[tuple[str, ...], bool] = {}
        for sha256, analyser in self._models.all().items():
            model = analyser.package.manifest
            labels = (model.name, model.version, model.sha256, analyser.provider)
            told[labels] = told.get(labels, False) or sha256 == self._choice.active
        if told != self._told:
            self._told = told
            self._metrics.model.clear()
            for names, active in told.items():
                self._metrics.model.labels(*names).set(active)
