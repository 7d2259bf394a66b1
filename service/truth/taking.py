"""A diagnosis goes into the journal, and into the audit trail if it holds from now on."""

from __future__ import annotations

from service.audit.messages import instances_updated
from service.audit.trail import AuditTrail
from service.journal.journal import Journal
from service.journal.records import ImageRow
from service.journal.truth_records import Subject, Taken, Truth

_HOLDS = (Taken.TAKEN, Taken.CORRECTED)


def take(journal: Journal, trail: AuditTrail, truth: Truth, *, replace: bool = False) -> Taken:
    """On disk when it returns. replace: see ``Journal.record_truth``. Raises JournalError."""
    images = _images(journal, truth)
    taken = journal.record_truth(truth, replace=replace)
    if taken in _HOLDS and images:
        references = [(each.sop_class_uid, each.sop_instance_uid) for each in images]
        study = images[0].study_instance_uid
        words = f"pathology: {taken.value}"
        trail.write(instances_updated(truth.teller, study, references, words))
    return taken


def _images(journal: Journal, truth: Truth) -> list[ImageRow]:
    """Those that it is about."""
    if truth.subject is Subject.STUDY:
        return journal.study_images(truth.uid)
    rows = [journal.image(key) for key in journal.keys_of(truth.uid)[:1]]
    return [row for row in rows if row is not None]
