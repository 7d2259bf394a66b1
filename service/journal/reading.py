"""Reading the journal: rows as records, and counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    Text,
    and_,
    cast,
    func,
    or_,
    select,
    true,
)

from service.journal import jobs, tally
from service.journal.database import batches
from service.journal.parcels import image_parcel, summary_parcel
from service.journal.records import (
    AnalysisOutcome,
    DeliveryRow,
    DeliveryState,
    ImageFilter,
    ImageRow,
    ImageState,
    JournalCounts,
    Position,
    ResultRow,
    ScoreRow,
    Stage,
    StudyState,
)
from service.journal.schema import commitment, delivery, image, result, study, summary


def keys_of(connection: Connection, sop_instance_uid: str) -> list[str]:
    query = select(image.c.key).where(image.c.sop_instance_uid == sop_instance_uid)
    return list(connection.execute(query.order_by(image.c.revision)).scalars())


def known_images(connection: Connection, keys: Sequence[str]) -> set[str]:
    return _known(connection, image.c.key, keys)


def known_parcels(connection: Connection, parcels: Sequence[str]) -> set[str]:
    """Those that have a row, or whose maker may still record one."""
    known = _known(connection, result.c.parcel, parcels)
    known |= _known(connection, summary.c.parcel, parcels)
    return known if known.issuperset(parcels) else known | _may_come(connection)


def _may_come(connection: Connection) -> set[str]:
    """The parcels that an unfinished job will record, or one that failed and may be replayed."""
    images = connection.execute(
        select(image.c.key, image.c.edition).where(
            image.c.state.in_((ImageState.RECEIVED, ImageState.FAILED))
        )
    )
    made = select(func.count()).where(summary.c.study_key == study.c.key).scalar_subquery()
    studies = connection.execute(
        select(study.c.key, made).where(study.c.state.in_((StudyState.PENDING, StudyState.FAILED)))
    )
    return {image_parcel(key, edition) for key, edition in images} | {
        summary_parcel(key, number) for key, number in studies
    }


def _known(connection: Connection, column: Column[Any], values: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for some in batches(values):
        found |= set(connection.execute(select(column).where(column.in_(some))).scalars())
    return found


def keys_in(connection: Connection, state: ImageState, limit: int) -> list[str]:
    query = select(image.c.key).where(image.c.state == state).order_by(image.c.received_at)
    return list(connection.execute(query.limit(limit)).scalars())


def keys_of_result(connection: Connection, sop_instance_uid: str) -> list[str]:
    """Read through the whole table: it is asked seldom, and by people."""
    named = cast(result.c.uids, Text).contains(f'"{sop_instance_uid}"', autoescape=True)
    return list(connection.execute(select(result.c.image_key).distinct().where(named)).scalars())


def study_images(connection: Connection, study_instance_uid: str) -> list[ImageRow]:
    """Of each SOP Instance UID the newest content, in the order of reception."""
    query = select(image).where(image.c.study_instance_uid == study_instance_uid)
    rows = _images(connection, query.order_by(image.c.received_at, image.c.key))
    newest: dict[str, ImageRow] = {}
    for row in rows:
        earlier = newest.get(row.sop_instance_uid)
        if earlier is None or earlier.revision < row.revision:
            newest[row.sop_instance_uid] = row
    return [row for row in rows if newest[row.sop_instance_uid] is row]


def image_row(connection: Connection, key: str) -> ImageRow | None:
    rows = _images(connection, select(image).where(image.c.key == key))
    return rows[0] if rows else None


def newest(
    connection: Connection, limit: int, chosen: ImageFilter, after: Position | None
) -> list[ImageRow]:
    query = select(image).where(~image.c.probe).order_by(image.c.received_at.desc(), image.c.key)
    for condition in _conditions(chosen):
        query = query.where(condition)
    if chosen.decision is not None or chosen.unlike_training is not None:
        query = query.join(result, result.c.parcel == image.c.parcel)
    if after is not None:
        moment, key = after
        query = query.where(
            or_(
                image.c.received_at < moment,
                and_(image.c.received_at == moment, image.c.key > key),
            )
        )
    return _images(connection, query.limit(limit))


def _conditions(chosen: ImageFilter) -> Iterator[ColumnElement[bool]]:
    if chosen.state is not None:
        yield image.c.state == chosen.state
    if chosen.decision is not None:
        yield result.c.decision == chosen.decision
    if chosen.unlike_training is not None:
        yield result.c.unlike_training.is_(chosen.unlike_training)
    if chosen.scanner is not None:
        yield image.c.calling_ae_title == chosen.scanner
    if chosen.since is not None or chosen.until is not None:
        yield _received_in(chosen)
    if chosen.key_prefix is not None:
        yield image.c.key.startswith(chosen.key_prefix, autoescape=True)


def _received_in(chosen: ImageFilter) -> ColumnElement[bool]:
    def within(table: FromClause) -> ColumnElement[bool]:
        since, until = chosen.since, chosen.until
        return and_(
            true() if since is None else table.c.received_at >= since,
            true() if until is None else table.c.received_at < until,
        )

    if not chosen.whole_studies:
        return within(image)
    of_study = image.alias("of_study")
    studies = select(of_study.c.study_instance_uid).where(within(of_study), ~of_study.c.probe)
    return or_(within(image), image.c.study_instance_uid.in_(studies))


def scores(
    connection: Connection, model_sha256: str, since: datetime, limit: int
) -> list[ScoreRow]:
    """The newest first."""
    query = (
        select(result.c.scanner_model, result.c.probability_malignant)
        .where(result.c.state == ImageState.ANALYSED, result.c.model_sha256 == model_sha256)
        .where(result.c.created_at >= since)
        .join(image, image.c.key == result.c.image_key)
        .where(~image.c.probe)
        .order_by(result.c.id.desc())
    )
    return [ScoreRow(*row) for row in connection.execute(query.limit(limit))]


def uid_of(connection: Connection, matches: Callable[[str], bool]) -> str | None:
    """Read through the whole table: it is asked seldom, and by people."""
    query = select(image.c.sop_instance_uid, image.c.study_instance_uid)
    for row in connection.execution_options(yield_per=1000).execute(query):
        for uid in row:
            if uid is not None and matches(uid):
                return str(uid)
    return None


def keys_of_study(connection: Connection, study_instance_uid: str) -> list[str]:
    query = select(image.c.key).where(image.c.study_instance_uid == study_instance_uid)
    return list(connection.execute(query.order_by(image.c.received_at, image.c.key)).scalars())


def scanners(connection: Connection, since: datetime) -> list[str]:
    query = select(image.c.calling_ae_title).distinct().where(image.c.received_at >= since)
    return sorted(connection.execute(query).scalars())


def _images(connection: Connection, query: Select[Any]) -> list[ImageRow]:
    """The whole ``image`` rows of ``query`` with their result and their deliveries."""
    rows = connection.execute(query).all()
    keys = [row.key for row in rows]
    results: dict[str, list[ResultRow]] = defaultdict(list)
    for row in connection.execute(
        select(result).where(result.c.image_key.in_(keys)).order_by(result.c.edition)
    ):
        results[row.image_key].append(ResultRow(row.edition, row.parcel, _outcome(row)))
    deliveries: dict[str, list[DeliveryRow]] = defaultdict(list)
    for row in connection.execute(
        select(delivery).where(delivery.c.image_key.in_(keys)).order_by(delivery.c.id)
    ):
        deliveries[row.image_key].append(_delivery(row))
    return [_image(row, results[row.key], deliveries[row.key]) for row in rows]


def _image(
    row: Row[Any], results: Sequence[ResultRow], deliveries: Sequence[DeliveryRow]
) -> ImageRow:
    return ImageRow(
        key=row.key,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        calling_ae_title=row.calling_ae_title,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        edition=row.edition,
        parcel=row.parcel,
        state=row.state,
        ignored_reason=row.ignored_reason,
        attempts=row.attempts,
        duplicates=row.duplicates,
        received_at=row.received_at,
        analysis_started_at=row.analysis_started_at,
        analysed_at=row.analysed_at,
        delivered_at=row.delivered_at,
        last_error=row.last_error,
        results=tuple(results),
        deliveries=tuple(deliveries),
    )


def _outcome(row: Row[Any]) -> AnalysisOutcome:
    return AnalysisOutcome(
        state=row.state,
        model_sha256=row.model_sha256,
        objects=tuple(row.objects),
        uids=tuple(row.uids),
        reason=row.reason,
        reason_text=row.reason_text,
        frame=row.frame,
        frames_scored=row.frames_scored,
        region=None if row.region is None else tuple(row.region),
        probability_malignant=row.probability_malignant,
        probability_benign=row.probability_benign,
        threshold=row.threshold,
        decision=row.decision,
        unlike_training=row.unlike_training,
        model_name=row.model_name,
        model_version=row.model_version,
        scanner_model=row.scanner_model,
        stage_seconds=row.stage_seconds,
    )


def _delivery(row: Row[Any]) -> DeliveryRow:
    waits = row.state in jobs.UNFINISHED[delivery] and row.lease is None
    return DeliveryRow(
        parcel=row.parcel,
        destination=row.destination,
        objects=tuple(row.objects),
        state=row.state,
        attempts=row.attempts,
        last_error=row.last_error,
        created_at=row.created_at,
        next_attempt_at=row.available_at if waits else None,
        delivered_at=row.delivered_at,
    )


def delivery_errors(connection: Connection) -> dict[str, str]:
    """Of each destination with unfinished deliveries that failed: the error of the newest one."""
    rows = connection.execute(
        select(delivery.c.destination, delivery.c.last_error)
        .where(or_(jobs.unfinished(delivery), delivery.c.state == DeliveryState.FAILED))
        .where(delivery.c.last_error.is_not(None))
        .order_by(delivery.c.id)
    )
    return {row.destination: row.last_error for row in rows}


def counts(connection: Connection, now: datetime) -> JournalCounts:
    images = dict.fromkeys(ImageState, 0)
    studies = dict.fromkeys(StudyState, 0)
    deliveries: dict[tuple[str, DeliveryState], int] = {}
    reasons: dict[str, int] = {}
    for count in tally.read(connection):
        if count.about == image.name:
            images[ImageState(count.state)] = count.number
        elif count.about == study.name:
            studies[StudyState(count.state)] = count.number
        elif count.about == delivery.name and count.name is not None:
            for each in DeliveryState:
                deliveries.setdefault((count.name, each), 0)
            deliveries[count.name, DeliveryState(count.state)] = count.number
        elif count.about == result.name and count.state == ImageState.NOT_ANALYSABLE:
            reasons[count.name or ""] = count.number
    waiting_for = select(delivery.c.destination, func.min(delivery.c.created_at)).where(
        delivery.c.state == DeliveryState.PENDING
    )
    oldest_results = {
        name: _since(oldest, now)
        for name, oldest in connection.execute(waiting_for.group_by(delivery.c.destination))
    }
    analysed_image = (
        select(func.min(image.c.received_at))
        .select_from(delivery.join(image, image.c.key == delivery.c.image_key))
        .where(delivery.c.state == DeliveryState.PENDING)
    )
    oldest_analysis = _age(
        connection, now, select(func.min(image.c.received_at)).where(jobs.unfinished(image))
    )
    return JournalCounts(
        images=images,
        studies=studies,
        deliveries=deliveries,
        not_analysable={reason: number for reason, number in reasons.items() if number},
        waiting={
            Stage.ANALYSIS: images[ImageState.RECEIVED],
            Stage.DELIVERY: sum(
                number
                for (_, state), number in deliveries.items()
                if state is DeliveryState.PENDING
            ),
            Stage.SUMMARY: studies[StudyState.PENDING],
            Stage.COMMITMENT: connection.execute(
                select(func.count()).select_from(commitment).where(jobs.unfinished(commitment))
            ).scalar_one(),
        },
        oldest_waiting_seconds={
            Stage.ANALYSIS: oldest_analysis,
            Stage.DELIVERY: max(oldest_results.values(), default=0.0),
            Stage.SUMMARY: _age(
                connection,
                now,
                select(func.min(study.c.available_at)).where(jobs.unfinished(study)),
            ),
            Stage.COMMITMENT: _age(
                connection,
                now,
                select(func.min(commitment.c.received_at)).where(jobs.unfinished(commitment)),
            ),
        },
        oldest_image_seconds=max(oldest_analysis, _age(connection, now, analysed_image)),
        destination_oldest_seconds=oldest_results,
    )


def _age(connection: Connection, now: datetime, oldest: Select[Any]) -> float:
    return _since(connection.execute(oldest).scalar_one(), now)


def _since(moment: datetime | None, now: datetime) -> float:
    return 0.0 if moment is None else max(0.0, (now - moment).total_seconds())
