"""The journal's operations: each one transaction, each safe to repeat."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection, func, select

from service.journal import (
    analyses,
    commitments,
    deliveries,
    jobs,
    lesions,
    migrations,
    models,
    overdue,
    probes,
    reading,
    receiving,
    replay,
    shadows,
    studies,
    tally,
    truths,
    withdrawals,
)
from service.journal.database import Conflict, Database, JournalError
from service.journal.records import (
    AnalysisJob,
    AnalysisOutcome,
    AwaitedCommitment,
    Basis,
    CommitmentJob,
    CommitmentRequest,
    DeliveryJob,
    ImageFilter,
    ImageRow,
    ImageState,
    JournalCounts,
    KeptImage,
    LesionLink,
    Overdue,
    Parcels,
    Position,
    Receipt,
    ReceivedImage,
    Reference,
    ScoreRow,
    SummaryJob,
)
from service.journal.shadow_records import Pair, Said, ScoringModel
from service.journal.together import Together
from service.journal.truth_records import JudgedImage, Taken, Truth, TruthRow

__all__ = ["Journal", "JournalError"]

_MIGRATION_LOCK = 0x5EC0_4DEA
"""Number of the PostgreSQL advisory lock under which the schema is upgraded."""
_INSERTIONS = 100
"""How often an insertion gives way to another one of the same SOP Instance UID or study."""

_Answer = TypeVar("_Answer")


def utc_now() -> datetime:
    return datetime.now(UTC)


class Journal:
    """Thread-safe. SQLite (WAL, synchronous FULL) or PostgreSQL, by SQLAlchemy URL.

    clock: what time it is, with its zone; for tests.
    quiet_seconds: for how long a study must have been quiet before it is summarised; None: never.
    longest_wait: seconds of a lease or a retry; a job that is due later than that was made by a
        clock that was wrong. A study may wait for ``quiet_seconds`` more, a stored parcel for
        ``commitment_wait`` seconds.
    Every method raises JournalError if the database cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], datetime] = utc_now,
        quiet_seconds: float | None = None,
        longest_wait: float = 86400.0,
        commitment_wait: float = 0.0,
    ) -> None:
        self._database = Database(url)
        self._clock = clock
        self._longest_wait = timedelta(seconds=longest_wait)
        self._commitment_wait = timedelta(seconds=commitment_wait)
        self._quiet_seconds = quiet_seconds
        self._receiving = Together(
            self._record_several, lambda image: self._record_several([image])[0]
        )

    def migrate(self) -> None:
        """Create or upgrade the schema with alembic; safe when several processes do it at once."""
        self._database.prepare()
        with self._database.writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            migrations.upgrade(connection)

    def check(self) -> None:
        """Raise JournalError unless the database answers and has the current schema."""
        with self._database.reading() as connection:
            revision = migrations.current(connection)
        if revision != migrations.newest():
            raise JournalError(
                f"the journal's schema is {revision or 'missing'}, this program needs"
                f" {migrations.newest()}: start the service once, it upgrades the journal"
            )

    def close(self) -> None:
        self._database.close()

    def _now(self) -> jobs.Now:
        quiet = timedelta(seconds=self._quiet_seconds or 0)
        return jobs.Now(self._clock(), self._longest_wait, quiet, self._commitment_wait)

    # probes
    def announce_probe(self, sop_instance_uid: str) -> None:
        """What comes under this UID, by the calling AE title of probes, is one."""
        with self._database.writing() as connection:
            probes.announce(connection, sop_instance_uid, self._clock())

    def finished_probes(
        self, sop_instance_uid: str, older: timedelta
    ) -> list[tuple[str, list[str]]]:
        """Keys of probes that nobody works on any more, each with its parcels.

        sop_instance_uid: of one's own. older: so old are those of others, who may still look.
        """
        with self._database.reading() as connection:
            return probes.finished(connection, sop_instance_uid, self._clock() - older)

    def every_probe(self) -> list[tuple[str, list[str]]]:
        """Keys of all probes, each with its parcels, whoever works on them."""
        with self._database.reading() as connection:
            return probes.every(connection)

    def forget_probes(self, keys: Sequence[str], never_came: timedelta = timedelta(0)) -> None:
        """Their files must be gone already: a file without a row would be taken for an image.

        never_came: so old are other probes that were announced and are forgotten too.
        """
        with self._database.writing() as connection:
            probes.forget(connection, keys, self._clock() - never_came)

    # backup
    def needed_files(self) -> tuple[list[str], list[tuple[str, tuple[str, ...]]]]:
        """What work needs: images to be analysed, parcels to be delivered with their files."""
        with self._database.reading() as connection:
            return analyses.waiting(connection), deliveries.waiting(connection)

    # ingest
    def record_received(self, image: ReceivedImage) -> Receipt:
        """Commit the row before Success is answered. The same key again counts a duplicate.

        Threads that call it at the same time share a transaction.
        """
        return self._receiving.call(image)

    def _record_several(self, images: Sequence[ReceivedImage]) -> list[Receipt]:
        return self._insert(
            lambda connection: [
                receiving.record(connection, image, self._clock(), self._quiet_seconds)
                for image in images
            ]
        )

    def _insert(self, operation: Callable[[Connection], _Answer]) -> _Answer:
        """One transaction, again when another one made the same row at the same moment."""
        for _ in range(_INSERTIONS):
            try:
                with self._database.writing() as connection:
                    return operation(connection)
            except Conflict:  # on PostgreSQL; who was faster is in now
                continue
        raise JournalError(
            "the journal refuses the row (its values, or too many of one UID at once)"
        )

    def last_received(self, calling_ae_title: str, within: timedelta) -> datetime | None:
        """When the last image of this title came, if that is no longer ago."""
        with self._database.reading() as connection:
            return receiving.last(connection, calling_ae_title, self._clock() - within)

    # analysis
    def lease_analysis(self, key: str, lease_seconds: float) -> AnalysisJob | None:
        """Take the job, or None if it is done, unknown, leased by another, or not yet due."""
        with self._database.writing() as connection:
            return analyses.lease(connection, key, _token(), self._now(), lease_seconds)

    def renew_analysis(self, job: AnalysisJob, lease_seconds: float) -> bool:
        """Heartbeat; False if the lease was lost (another worker took the job, or finished it)."""
        with self._database.writing() as connection:
            return analyses.renew(connection, job, self._clock(), lease_seconds)

    def record_outcome(self, job: AnalysisJob, outcome: AnalysisOutcome, parcels: Parcels) -> bool:
        """State ANALYSED or NOT_ANALYSABLE, and a PENDING delivery for each destination, in one
        transaction. An image with nothing to send or no destinations stays in its state (final).
        False if the job is finished or another worker took it (nothing is then changed)."""
        return self._insert(
            lambda connection: analyses.record_outcome(
                connection, job, outcome, parcels, self._clock(), self._quiet_seconds
            )
        )

    def record_analysis_failure(
        self, job: AnalysisJob, error: str, retry_in: float | None, *, counts: bool = True
    ) -> None:
        """Our fault: try again in ``retry_in`` seconds, or FAILED if that is None.

        ``error`` holds the exception's class and our own words, never the data. ``counts``: among
        the job's attempts."""
        with self._database.writing() as connection:
            analyses.record_failure(connection, job, error, retry_in, counts, self._clock())

    def choose_model(
        self, study_instance_uid: str, package_sha256: str, instead_of: str | None = None
    ) -> str:
        """Digest of the model package that all images of the study get: this one, unless somebody
        was faster. instead_of: the one that it had, and that cannot be had any more."""
        return self._insert(
            lambda connection: models.choose(
                connection, study_instance_uid, package_sha256, instead_of, self._clock()
            )
        )

    def awaited_models(self) -> set[str]:
        """Digests of the packages that images which wait for their analysis were promised."""
        with self._database.reading() as connection:
            return models.awaited(connection)

    # delivery
    def lease_delivery(
        self, parcel: str, destination: str, lease_seconds: float
    ) -> DeliveryJob | None:
        """As ``lease_analysis``, for one parcel at one destination."""
        with self._database.writing() as connection:
            return deliveries.lease(
                connection, parcel, destination, _token(), self._now(), lease_seconds
            )

    def postpone_delivery(self, parcel: str, destination: str, seconds: float) -> None:
        """Not now: a delivery that nobody has leased is published again after ``seconds``, at most
        60, and no attempt is counted."""
        with self._database.writing() as connection:
            until = self._clock() + timedelta(seconds=seconds)
            deliveries.postpone(connection, parcel, destination, until)

    def renew_delivery(self, job: DeliveryJob, lease_seconds: float) -> bool:
        """Heartbeat; False if the lease was lost."""
        with self._database.writing() as connection:
            return deliveries.renew(connection, job, self._clock(), lease_seconds)

    def record_delivered(self, job: DeliveryJob) -> bool:
        """Delivery DELIVERED; the image too once every delivery of it is. False if somebody else
        recorded it already (nothing is then changed)."""
        with self._database.writing() as connection:
            return deliveries.record_delivered(connection, job, self._clock())

    def record_delivery_failure(
        self, job: DeliveryJob, error: str, retry_in: float | None, refused: bool
    ) -> None:
        """Try again in ``retry_in`` seconds, or FAILED (delivery and image) if that is None.

        ``refused`` counts towards the bounded number of refusals."""
        with self._database.writing() as connection:
            deliveries.record_failure(connection, job, error, retry_in, refused, self._clock())

    def record_stored(
        self, job: DeliveryJob, awaited: Sequence[Reference], lease_seconds: float
    ) -> DeliveryJob | None:
        """Delivery STORED: the destination has it, and is now asked to commit. The job of the
        question; None if the delivery is no longer PENDING (nothing is then changed)."""
        kept = tuple(awaited)
        with self._database.writing() as connection:
            stored = deliveries.record_stored(connection, job, kept, self._clock(), lease_seconds)
        return replace(job, awaited=kept) if stored else None

    def name_transaction(self, job: DeliveryJob, transaction_uid: str) -> bool:
        """Under which Transaction UID the commitment is asked for, before it is; the report of an
        earlier one counts no more. False if the lease was lost."""
        with self._database.writing() as connection:
            return deliveries.name_transaction(connection, job, transaction_uid)

    def wait_for_commitment(self, job: DeliveryJob, seconds: float) -> None:
        """End the lease after the question; it is asked again unless the report comes by then."""
        with self._database.writing() as connection:
            until = self._clock() + timedelta(seconds=seconds)
            deliveries.wait_for_commitment(connection, job, until)

    def awaited(self, transaction_uid: str) -> AwaitedCommitment | None:
        """The STORED delivery that a report is about; None for an obsolete or unknown one."""
        with self._database.reading() as connection:
            return deliveries.awaited(connection, transaction_uid)

    def record_committed(self, parcel: str, transaction_uid: str) -> bool:
        """As ``record_delivered``, for a STORED delivery."""
        with self._database.writing() as connection:
            return deliveries.record_committed(connection, parcel, transaction_uid, self._clock())

    def record_not_committed(
        self, parcel: str, transaction_uid: str, error: str, retry_in: float | None
    ) -> bool:
        """Delivery PENDING again, to be sent in ``retry_in`` seconds, or FAILED if that is None."""
        with self._database.writing() as connection:
            return deliveries.record_not_committed(
                connection, parcel, transaction_uid, error, retry_in, self._clock()
            )

    # commitment
    def record_commitment_request(self, request: CommitmentRequest, published: bool) -> None:
        """Commit the row before the N-ACTION is answered.

        published: the caller publishes it, or reports himself, at once.
        """
        self._insert(
            lambda connection: commitments.record(connection, request, self._clock(), published)
        )

    def lease_commitment(self, key: str, lease_seconds: float) -> CommitmentJob | None:
        """As ``lease_analysis``, for the report of a commitment."""
        with self._database.writing() as connection:
            return commitments.lease(connection, key, _token(), self._now(), lease_seconds)

    def renew_commitment(self, job: CommitmentJob, lease_seconds: float) -> bool:
        """Heartbeat; False if the lease was lost."""
        with self._database.writing() as connection:
            return commitments.renew(connection, job, self._clock(), lease_seconds)

    def kept(self, references: Sequence[Reference]) -> dict[str, KeptImage]:
        """By SOP Instance UID the newest content that was received under it."""
        with self._database.reading() as connection:
            return commitments.kept(connection, references)

    def record_reported(self, job: CommitmentJob, not_committed: int) -> bool:
        """Commitment REPORTED: the peer has taken the report. False if the lease was lost."""
        with self._database.writing() as connection:
            return commitments.record_reported(connection, job, not_committed, self._clock())

    def record_commitment_failure(
        self, job: CommitmentJob, error: str, retry_in: float | None
    ) -> None:
        """As ``record_analysis_failure``."""
        with self._database.writing() as connection:
            commitments.record_failure(connection, job, error, retry_in, self._clock())

    # summary
    def lease_summary(self, key: str, lease_seconds: float) -> SummaryJob | None:
        """As ``lease_analysis``, for a study that is quiet and has no image to analyse."""
        with self._database.writing() as connection:
            return studies.lease(connection, key, _token(), self._now(), lease_seconds)

    def renew_summary(self, job: SummaryJob, lease_seconds: float) -> bool:
        """Heartbeat; False if the lease was lost, or the study has changed."""
        with self._database.writing() as connection:
            return studies.renew(connection, job, self._clock(), lease_seconds)

    def study_images(self, study_instance_uid: str) -> list[ImageRow]:
        """Of each SOP Instance UID the newest content, in the order of reception."""
        with self._database.reading() as connection:
            return reading.study_images(connection, study_instance_uid)

    def record_summary(self, job: SummaryJob, basis: Basis, parcels: Parcels) -> bool:
        """Study SUMMARISED, and a PENDING delivery for each destination. False if the study has
        changed meanwhile, or somebody else has the job (nothing is then changed)."""
        with self._database.writing() as connection:
            return studies.record_summary(connection, job, basis, parcels, self._clock())

    def record_nothing_new(self, job: SummaryJob) -> bool:
        """Study SUMMARISED as it was, if it ever was."""
        with self._database.writing() as connection:
            return studies.record_nothing_new(connection, job, self._clock())

    def record_summary_failure(
        self, job: SummaryJob, error: str, retry_in: float | None, *, counts: bool = True
    ) -> None:
        """As ``record_analysis_failure``."""
        with self._database.writing() as connection:
            studies.record_failure(connection, job, error, retry_in, counts, self._clock())

    # lesions
    def link_lesion(self, keys: Sequence[str], side: str | None) -> LesionLink | None:
        """Images of one study show one lesion; its summary is made anew. None, and nothing is
        changed, unless they are two or more of one study and none is linked yet."""
        return self._insert(
            lambda connection: lesions.link(
                connection, keys, side, self._clock(), self._quiet_seconds
            )
        )

    def unlink_lesion(self, key: str) -> LesionLink | None:
        """Undo the whole link that the image is a part of; None if it is in none."""
        return self._insert(
            lambda connection: lesions.unlink(connection, key, self._clock(), self._quiet_seconds)
        )

    def lesion_links(self, study_instance_uid: str) -> list[LesionLink]:
        """In the order of the lesions' names."""
        with self._database.reading() as connection:
            return lesions.links_of(connection, study_instance_uid)

    # keeper
    def overdue(self, publish_grace: float, limit: int = 500) -> list[Overdue]:
        """Unfinished jobs whose lease ran out, whose next attempt is due, or which were published
        (or never published) longer than ``publish_grace`` seconds ago and not taken; oldest first.
        Those that are returned count as published now."""
        with self._database.writing() as connection:
            return overdue.publish(connection, self._now(), publish_grace, limit)

    def gather_counts(self) -> None:
        """Keep ``counts`` cheap; call it now and then."""
        with self._database.writing() as connection:
            tally.gather(connection)

    def known_images(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that have a row."""
        with self._database.reading() as connection:
            return reading.known_images(connection, keys)

    def known_parcels(self, parcels: Sequence[str]) -> set[str]:
        """Those of the parcels that a result or a summary has."""
        with self._database.reading() as connection:
            return reading.known_parcels(connection, parcels)

    # operator
    def replay(self, keys: Sequence[str]) -> int:
        """FAILED images (analysis or delivery) back to work at once, attempts from 0; others are
        left alone. Returns how many."""
        with self._database.writing() as connection:
            return replay.replay(connection, keys, self._clock())

    def replay_summaries(self) -> int:
        """Failed summaries, and their failed deliveries, back to work at once. Returns how many."""
        with self._database.writing() as connection:
            return replay.replay_summaries(connection, self._clock())

    def ask_again(self, key: str, package_sha256: str) -> bool:
        """Back to work for another result, by this model package, that replaces the one it has.
        Its study gets this package from now on. False if it has none, or is at work or failed."""
        return self._insert(
            lambda connection: analyses.ask_again(connection, key, package_sha256, self._clock())
        )

    def withdraw(
        self, row: ImageRow, parcel: str, outcome: AnalysisOutcome, parcels: Parcels
    ) -> bool:
        """Image WITHDRAWN by a new edition; what was not delivered yet is cancelled. False if the
        image is no longer as ``row`` has it (nothing is then changed)."""
        return self._insert(
            lambda connection: withdrawals.withdraw(
                connection, row, parcel, outcome, parcels, self._clock(), self._quiet_seconds
            )
        )

    def deliver(self, row: ImageRow, parcels: Parcels) -> None:
        """Deliveries of an image's result that was made and kept; those that exist stay."""
        with self._database.writing() as connection:
            deliveries.make_missing(connection, row, parcels, self._clock())

    def keys_of(self, sop_instance_uid: str) -> list[str]:
        """Every content that came under this SOP Instance UID, in the order of revisions."""
        with self._database.reading() as connection:
            return reading.keys_of(connection, sop_instance_uid)

    def keys_of_result(self, sop_instance_uid: str) -> list[str]:
        """The image that an object of ours, in the form it has in the spool, is about."""
        with self._database.reading() as connection:
            return reading.keys_of_result(connection, sop_instance_uid)

    def keys_in(self, state: ImageState, limit: int = 10000) -> list[str]:
        """The oldest first."""
        with self._database.reading() as connection:
            return reading.keys_in(connection, state, limit)

    def image(self, key: str) -> ImageRow | None:
        with self._database.reading() as connection:
            return reading.image_row(connection, key)

    def images(
        self,
        limit: int = 100,
        chosen: ImageFilter | None = None,
        after: Position | None = None,
    ) -> list[ImageRow]:
        """The newest first; ``after``: those that follow this one in the list."""
        with self._database.reading() as connection:
            return reading.newest(connection, limit, chosen or ImageFilter(), after)

    def keys_of_study(self, study_instance_uid: str) -> list[str]:
        """Every content of every image, in the order of reception."""
        with self._database.reading() as connection:
            return reading.keys_of_study(connection, study_instance_uid)

    def scores(self, model_sha256: str, within: timedelta, limit: int) -> list[ScoreRow]:
        """What this model has said lately, the newest first."""
        with self._database.reading() as connection:
            return reading.scores(connection, model_sha256, self._clock() - within, limit)

    # truth
    def record_truth(self, told: Truth, *, replace: bool = False) -> Taken:
        """What pathology found; on disk when it returns. What was said before stays in
        ``truth_history``. replace: it holds even where what is known is of a later date."""
        return self._insert(
            lambda connection: truths.record(connection, told, self._clock(), replace)
        )

    def truth_history(self, uid: str) -> list[TruthRow]:
        """All that was said of a Study or SOP Instance UID; the last one holds."""
        with self._database.reading() as connection:
            return truths.history(connection, uid)

    def judged_images(self) -> list[JudgedImage]:
        """Images whose result holds and whose truth is known, in the order of reception."""
        with self._database.reading() as connection:
            return truths.judged(connection)

    # shadow
    def analysis_waits(self) -> bool:
        """Whether an image is being analysed, or could be."""
        with self._database.reading() as connection:
            return shadows.analysis_waits(connection, self._clock())

    def unseen_by_shadow(self, model_sha256: str, within: timedelta, limit: int) -> list[str]:
        """Images of late whose result is of another model and which this one has not seen yet,
        the newest first."""
        with self._database.reading() as connection:
            return shadows.unseen(connection, model_sha256, self._clock() - within, limit)

    def begin_shadow(self, key: str, model: ScoringModel) -> bool:
        """Before the shadow looks at an image, which it does once. False if it did already."""
        try:
            with self._database.writing() as connection:
                return shadows.begin(connection, key, model, self._clock())
        except Conflict:  # on PostgreSQL; another worker was faster
            return False

    def record_shadow(self, key: str, model: ScoringModel, said: Said) -> None:
        """What became of an image that was begun."""
        with self._database.writing() as connection:
            shadows.record(connection, key, model, said, self._clock())

    def release_shadow(self, key: str, model: ScoringModel) -> None:
        """An image that was begun, and which another worker may begin anew."""
        with self._database.writing() as connection:
            shadows.release(connection, key, model)

    def shadow_pairs(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> list[Pair]:
        """Images that a shadow has looked at, beside what their results say, in the order of
        reception. since, until: of the reception. limit: at most about so many, the newest."""
        with self._database.reading() as connection:
            return shadows.pairs(connection, since, until, limit)

    def uid_of(self, matches: Callable[[str], bool]) -> str | None:
        """The first SOP or Study Instance UID that ``matches``; it looks at every one."""
        with self._database.reading() as connection:
            return reading.uid_of(connection, matches)

    def scanners(self, within: timedelta) -> list[str]:
        """Calling AE titles that have sent images lately, sorted."""
        with self._database.reading() as connection:
            return reading.scanners(connection, self._clock() - within)

    def delivery_errors(self) -> dict[str, str]:
        """By destination with deliveries that failed and are unfinished: the newest one's error."""
        with self._database.reading() as connection:
            return reading.delivery_errors(connection)

    def counts(self, now: datetime | None = None) -> JournalCounts:
        """Zeros too: for every image state, and every delivery state of a known destination."""
        with self._database.reading() as connection:
            return reading.counts(connection, now or self._clock())


def _token() -> str:
    return secrets.token_hex(16)
