"""What an operator may order for an image, by command or on the web page; each is audited."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dicom_sr.rejection_note import RejectionReason
from service.analysis.model_package import Manifest
from service.analysis.model_store import ModelStore
from service.audit.messages import instances_updated
from service.audit.trail import AuditTrail
from service.config import Settings
from service.journal.journal import Journal
from service.journal.records import ImageRow, ImageState, LesionLink
from service.journal.states import REANALYSIS_ASKED
from service.results import InvalidObject, parcels_for
from service.spool import StoreError
from service.spool_opening import open_spool
from service.withdrawal import NothingToWithdraw, Withdrawal

_STEP = 1000
"""Images of one transaction."""


class NotDone(Exception):
    """The order does not fit the image as it is now; the text says why."""


class Orders:
    """Orders of one person. What they change is taken up by the keeper at its next look.

    user: his name in the audit trail.
    Every method raises JournalError if the journal cannot be used.
    """

    def __init__(self, settings: Settings, journal: Journal, trail: AuditTrail, user: str) -> None:
        self._settings = settings
        self._journal = journal
        self._trail = trail
        self._user = user
        self._store = ModelStore(settings)
        self._models: dict[str | None, tuple[str, Manifest]] = {}

    def replay(self, row: ImageRow) -> None:
        """Put an image that failed back to work. Raises NotDone."""
        if not self._journal.replay([row.key]):
            raise NotDone("it has not failed")
        self._record(row, "replay")

    def replay_all(self, on_progress: Callable[[int], object] = lambda _: None) -> int:
        """All failed images and summaries; how many they were. on_progress: how many until now."""
        count = self._journal.replay_summaries()
        while replayed := self._journal.replay(self._journal.keys_in(ImageState.FAILED, _STEP)):
            count += replayed
            on_progress(count)
        return count

    def report(self, row: ImageRow) -> None:
        """Send the report of an image that was not analysed, if it was kept back.

        Raises NotDone.
        """
        outcome = row.outcome
        if row.state is not ImageState.NOT_ANALYSABLE or outcome is None or row.deliveries:
            raise NotDone("it has no report that was kept back")
        parcels = parcels_for(self._settings.destinations, outcome.objects)
        if not parcels:
            raise NotDone("no destination gets reports")
        self._journal.deliver(row, parcels)
        self._record(row, "report")

    def reanalyse(self, row: ImageRow, model: str | None = None) -> None:
        """Analyse it again; what its study still gets is analysed by the same model.

        model: digest of an installed package; without it the active one.
        Raises NotDone, also if this model has said it already; ModelPackageError.
        """
        self.require_reanalysis(row, model)
        if not self._journal.ask_again(row.key, self._model(model)[0]):
            raise NotDone("it is at work, or has failed")
        self._record(row, "reanalyse")

    def require_reanalysis(self, row: ImageRow, model: str | None = None) -> None:
        """Whether ``reanalyse`` would have anything to do, as it raises what that does."""
        outcome = row.outcome
        if outcome is None:
            raise NotDone("it has no result that could be replaced")
        _, manifest = self._model(model)
        threshold = manifest.threshold_of(self._settings.analysis.operating_point)
        said_by = (outcome.model_sha256, outcome.model_name, outcome.model_version)
        same_model = said_by == (manifest.sha256, manifest.name, manifest.version)
        same_point = outcome.threshold in (None, threshold)
        if same_model and same_point and outcome.state is not ImageState.WITHDRAWN:
            raise NotDone("this model has said it already")
        if row.state not in REANALYSIS_ASKED.before:
            raise NotDone("it is at work, or has failed")

    def model_named(self, name: str | None) -> str | None:
        """Digest of an installed package by its name; None for None. Raises ModelPackageError."""
        return None if name is None else self._store.find(name).sha256

    def _model(self, model: str | None) -> tuple[str, Manifest]:
        """To compare it with its digest takes its time: once, however many images there are."""
        if model not in self._models:
            wanted = self._store.state().active if model is None else model
            package = self._store.package(wanted)
            self._models[model] = (self._store.sha256_of(wanted), package.manifest)
        return self._models[model]

    def withdraw(self, row: ImageRow, reason: RejectionReason, words: str) -> None:
        """Take its results back, see ``Withdrawal``.

        words: why, for the reader in the PACS.
        Raises NotDone, or OSError where the spool lacks a file.
        """
        if not words.strip():
            raise NotDone("say why")
        spool = open_spool(self._settings)
        try:
            Withdrawal(self._settings, spool, self._journal).withdraw(row, reason, words.strip())
        except (NothingToWithdraw, InvalidObject, StoreError) as error:
            raise NotDone(f"not withdrawn: {error}") from error
        self._record(row, "withdraw")

    def link_lesion(self, rows: Sequence[ImageRow], side: str | None) -> LesionLink:
        """Say that images show one lesion; the study's summary is made anew. Raises NotDone."""
        if self._settings.summary_after is None:
            raise NotDone("no destination gets summaries, which tell of lesions")
        if len({row.key for row in rows}) < 2:
            raise NotDone("a lesion is linked from two images or more")
        if len({row.study_instance_uid for row in rows}) > 1:
            raise NotDone("they are of several studies")
        link = self._journal.link_lesion([row.key for row in rows], side)
        if link is None:
            raise NotDone("one of them is linked already (unlink it first), or has no study")
        self._record_all(rows, "link-lesion")
        return link

    def unlink_lesion(self, row: ImageRow) -> LesionLink:
        """Undo the link that the image is a part of. Raises NotDone."""
        link = self._journal.unlink_lesion(row.key)
        if link is None:
            raise NotDone("it is in no link")
        undone = [self._journal.image(key) for key in link.keys]
        self._record_all([image for image in undone if image is not None], "unlink-lesion")
        return link

    def _record(self, row: ImageRow, order: str) -> None:
        self._record_all([row], order)

    def _record_all(self, rows: Sequence[ImageRow], order: str) -> None:
        images = [(row.sop_class_uid, row.sop_instance_uid) for row in rows]
        self._trail.write(instances_updated(self._user, rows[0].study_instance_uid, images, order))
