"""The analysis of an image: lease, outcome, failure, and to do it again."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, insert, literal, select, update

from service.journal import deliveries, jobs, models, states, studies
from service.journal.parcels import image_parcel
from service.journal.records import AnalysisJob, AnalysisOutcome, ImageState, Parcels
from service.journal.schema import UtcDateTime, image, result


def lease(
    connection: Connection, key: str, token: str, now: jobs.Now, lease_seconds: float
) -> AnalysisJob | None:
    row = connection.execute(
        jobs.take(image, token, now, lease_seconds)
        .where(image.c.key == key)
        .values(
            analysis_started_at=func.coalesce(
                image.c.analysis_started_at, literal(now.time, UtcDateTime())
            )
        )
        .returning(
            image.c.revision,
            image.c.edition,
            image.c.parcel,
            image.c.received_at,
            image.c.analysis_started_at,
            image.c.attempts,
            image.c.probe,
            image.c.calling_ae_title,
            image.c.study_instance_uid,
            image.c.model_asked,
        )
    ).one_or_none()
    if row is None:
        return None
    study_model = scored_by = None
    if row.study_instance_uid is not None and row.model_asked is None:
        study_model = models.of_study(connection, row.study_instance_uid)
        if study_model is None:
            scored_by = models.first_to_score(connection, row.study_instance_uid)
    return AnalysisJob(
        key=key,
        revision=row.revision,
        edition=row.edition,
        parcel=image_parcel(key, row.edition),
        replaces=row.parcel,
        received_at=row.received_at,
        started_at=row.analysis_started_at,
        attempt=row.attempts,
        lease=token,
        probe=row.probe,
        calling_ae_title=row.calling_ae_title,
        study_instance_uid=row.study_instance_uid,
        model_asked=row.model_asked,
        study_model=study_model,
        scored_by=scored_by,
    )


def renew(connection: Connection, job: AnalysisJob, now: datetime, lease_seconds: float) -> bool:
    renewed = connection.execute(
        jobs.renew(image, job.lease, now, lease_seconds).where(image.c.key == job.key)
    )
    return renewed.rowcount == 1


def record_outcome(
    connection: Connection,
    job: AnalysisJob,
    outcome: AnalysisOutcome,
    parcels: Parcels,
    now: datetime,
    quiet_seconds: float | None,
) -> bool:
    """Result and deliveries, if the job is still this worker's.

    Raises ValueError for an outcome that is no end of an analysis.
    """
    if outcome.state not in states.OUTCOMES:
        raise ValueError(f"an analysis does not end as {outcome.state}")
    ended = connection.execute(
        update(image)
        .where(image.c.key == job.key, image.c.lease == job.lease)
        .where(image.c.state.in_(states.OUTCOMES[outcome.state].before))
        .values(
            state=states.OUTCOMES[outcome.state].after,
            analysed_at=now,
            parcel=job.parcel,
            lease=None,
            last_error=None,
            study_instance_uid=func.coalesce(
                image.c.study_instance_uid, outcome.study_instance_uid
            ),
        )
    )
    if ended.rowcount != 1:
        return False
    record_result(connection, job.key, job.edition, job.parcel, outcome, now)
    deliveries.make(connection, job.parcel, job.key, parcels, now)
    if outcome.study_instance_uid is not None and not job.probe:
        studies.result_came(connection, outcome.study_instance_uid, now, quiet_seconds)
    return True


def record_result(
    connection: Connection,
    key: str,
    edition: int,
    parcel: str,
    outcome: AnalysisOutcome,
    now: datetime,
) -> None:
    values = asdict(outcome)
    del values["study_instance_uid"]
    connection.execute(
        insert(result).values(
            image_key=key, edition=edition, parcel=parcel, created_at=now, **values
        )
    )


def ask_again(connection: Connection, key: str, package_sha256: str, now: datetime) -> bool:
    """Back to work for the next edition, by this model package; False if there is no result, or
    work is under way."""
    with_result = select(result.c.id).where(result.c.image_key == key).exists()
    asked = connection.execute(
        update(image)
        .where(image.c.key == key, with_result)
        .where(image.c.state.in_(states.REANALYSIS_ASKED.before))
        .values(
            state=states.REANALYSIS_ASKED.after,
            edition=image.c.edition + 1,
            analysis_started_at=None,
            analysed_at=None,
            delivered_at=None,
            **jobs.due_at_once(now),
        )
    )
    if asked.rowcount != 1:
        return False
    models.ask(connection, key, package_sha256, now)
    return True


def record_failure(
    connection: Connection,
    job: AnalysisJob,
    error: str,
    retry_in: float | None,
    counts: bool,
    now: datetime,
) -> None:
    if retry_in is None:
        ended = jobs.give_up(image, job.lease, error, states.ANALYSIS_GIVEN_UP)
    else:
        ended = jobs.try_again(image, job.lease, error, now + timedelta(seconds=retry_in), counts)
    connection.execute(ended.where(image.c.key == job.key))


def waiting(connection: Connection) -> list[str]:
    """Keys of images that are still to be analysed, probes not among them."""
    query = select(image.c.key).where(image.c.state == ImageState.RECEIVED, ~image.c.probe)
    return list(connection.execute(query).scalars())
