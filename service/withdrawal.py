"""Taking a result back: a rejection note, and the report that replaces what was said."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_sr.finding import WITHDRAWN, ModelIdentity, NotAnalysed
from dicom_sr.rejection_note import RejectionReason, build_rejection_note
from dicom_sr.report import build_report
from service.config import Settings
from service.destination import ObjectKind
from service.journal.journal import Journal
from service.journal.records import AnalysisOutcome, ImageRow, ImageState, ResultRow
from service.journal.states import RESULT_WITHDRAWN
from service.results import FILES, REJECTION_FILE, ResultCheck, parcels_for
from service.spool import Spool

_TEXT = {
    RejectionReason.QUALITY: "The AI result was rejected for quality reasons and withdrawn.",
    RejectionReason.PATIENT_SAFETY: "The AI result was rejected for patient safety and withdrawn.",
}


class NothingToWithdraw(Exception):
    """The image has no result that could be taken back; the text says why."""


class Withdrawal:
    """Withdraws results in the manner of IHE IOCM (RAD-66, RAD-67)."""

    def __init__(self, settings: Settings, spool: Spool, journal: Journal) -> None:
        self._destinations = settings.destinations
        self._check = ResultCheck(settings.results.dciodvfy)
        self._spool = spool
        self._journal = journal

    def withdraw(self, row: ImageRow, reason: RejectionReason, words: str) -> None:
        """Reject every object of the image that may be in a PACS, and say so in a report.

        words: why, for the reader in the PACS; kept nowhere else.
        Raises NothingToWithdraw, InvalidObject, JournalError, or OSError where the spool lacks a
        file.
        """
        outcome = row.outcome
        if outcome is None or not outcome.objects:
            raise NothingToWithdraw("there is no result")
        if row.state not in RESULT_WITHDRAWN.before:
            raise NothingToWithdraw(f"it is {row.state}")
        parcel = secrets.token_hex(16)
        header = dcmread(self._spool.image_path(row.key), stop_before_pixels=True)
        objects = self._objects(header, row, outcome, reason, words)
        self._spool.write_results(
            parcel,
            [(name, self._check.part10(name, each, header)) for name, each in objects.items()],
        )
        names = tuple(objects)
        withdrawn = AnalysisOutcome(
            state=ImageState.WITHDRAWN,
            model_sha256=outcome.model_sha256,
            model_name=outcome.model_name,
            model_version=outcome.model_version,
            objects=names,
            uids=tuple(str(each.SOPInstanceUID) for each in objects.values()),
            reason=f"{WITHDRAWN}-{reason}",
            reason_text=_TEXT[reason],
        )
        receivers = {delivery.destination for delivery in row.deliveries}
        parcels = parcels_for(
            [each for each in self._destinations if each.name in receivers], names
        )
        if not self._journal.withdraw(row, parcel, withdrawn, parcels):
            raise NothingToWithdraw("it has just changed: look again")

    def _objects(
        self,
        header: Dataset,
        row: ImageRow,
        outcome: AnalysisOutcome,
        reason: RejectionReason,
        words: str,
    ) -> dict[str, Dataset]:
        """By file name."""
        model = ModelIdentity(outcome.model_name, outcome.model_version, outcome.model_sha256)
        edition, started_at = row.edition + 1, datetime.now(UTC).astimezone()
        rejected = [
            reference
            for result in _since_last_withdrawal(row)
            for name in result.outcome.objects
            if (reference := self._spool.reference(result.parcel, name)) is not None
        ]
        note = build_rejection_note(
            header,
            rejected,
            model,
            reason,
            words,
            revision=row.revision,
            started_at=started_at,
            edition=edition,
        )
        objects = {REJECTION_FILE: note}
        name = FILES[ObjectKind.REPORT]
        predecessor = self._spool.reference(row.results[-1].parcel, name)
        if predecessor is not None:
            objects[name] = build_report(
                header,
                NotAnalysed(f"{WITHDRAWN}-{reason}", f"{_TEXT[reason]} {words}"),
                model,
                revision=row.revision,
                started_at=started_at,
                edition=edition,
                predecessor=predecessor,
            )
        return objects


def _since_last_withdrawal(row: ImageRow) -> list[ResultRow]:
    """What was rejected before is not rejected again, nor is the note that rejected it."""
    results: list[ResultRow] = []
    for result in row.results:
        results = [] if result.outcome.state is ImageState.WITHDRAWN else [*results, result]
    return results
