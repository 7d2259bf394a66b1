"""A journal and a spool as they are after so many images, without the time that it took."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Table, create_engine, insert

from service.journal.journal import Journal
from service.journal.parcels import study_key
from service.journal.records import DeliveryState, ImageState, StudyState
from service.journal.schema import delivery, image, result, study
from service.spool import Spool

_ROWS_A_STATEMENT = 5000
_IMAGES_A_STUDY = 10
_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
_REASONS = ("colour-doppler", "no-ultrasound-region", "too-small")
_WAITING = 5
"""Images that wait for their analysis, and for their delivery, however many there are: what a
service in good health has open does not grow with what it has done."""


def fill(url: str, spool: Spool, count: int, began: datetime) -> None:
    """The journal of ``count`` images at ``url`` and their files, which are links to a small one.

    One image a minute since ``began``. Of a hundred 88 are delivered, 8 not analysable and
    delivered, 3 ignored, 1 failed for good; the newest few wait.
    """
    journal = Journal(url)
    journal.migrate()
    journal.close()
    rows: dict[Table, list[dict[str, Any]]] = {image: [], result: [], study: [], delivery: []}
    engine = create_engine(url)
    with engine.begin() as connection:
        for number in range(count):
            _add(rows, number, count, began)
            if len(rows[image]) == _ROWS_A_STATEMENT or number == count - 1:
                for table, some in rows.items():
                    for alike in _alike(some):
                        connection.execute(insert(table), alike)
                    some.clear()
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")
    engine.dispose()
    _link_files(spool, count)


def key_of(number: int) -> str:
    return hashlib.sha256(f"image {number}".encode()).hexdigest()[:32]


def study_of(number: int) -> str:
    """Study Instance UID."""
    return f"1.2.826.0.1.3680043.9.1.{number // _IMAGES_A_STUDY}"


def _alike(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """One statement's rows have the same columns."""
    kinds: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(tuple(row), []).append(row)
    yield from kinds.values()


def _state(number: int, count: int) -> ImageState:
    if number >= count - _WAITING and count > 2 * _WAITING:
        return ImageState.RECEIVED
    if number >= count - 2 * _WAITING:
        return ImageState.ANALYSED
    return {96: ImageState.IGNORED, 97: ImageState.IGNORED, 98: ImageState.IGNORED}.get(
        number % 100, ImageState.FAILED if number % 100 == 99 else ImageState.DELIVERED
    )


def _add(rows: dict[Table, list[dict[str, Any]]], number: int, count: int, began: datetime) -> None:
    key, state, at = key_of(number), _state(number, count), began + timedelta(minutes=number)
    with_result = state in (ImageState.DELIVERED, ImageState.ANALYSED)
    later = at + timedelta(seconds=5)
    job = {"attempts": 1, "lease": None, "available_at": later, "published_at": None}
    rows[image].append(
        {
            "key": key,
            "sop_instance_uid": f"1.2.826.0.1.3680043.9.2.{number}",
            "sop_class_uid": _ULTRASOUND,
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "digest": hashlib.sha256(key.encode()).hexdigest(),
            "size_bytes": 900_000,
            "calling_ae_title": "SCANNER",
            "study_instance_uid": study_of(number),
            "revision": 0,
            "edition": 0,
            "parcel": key if with_result else None,
            "state": state,
            "ignored_reason": "not-an-image" if state is ImageState.IGNORED else None,
            "duplicates": 0,
            "received_at": at,
            "analysed_at": later if with_result else None,
            "delivered_at": later if state is ImageState.DELIVERED else None,
            **job,
            "last_error": "RuntimeError" if state is ImageState.FAILED else None,
        }
    )
    if number % _IMAGES_A_STUDY == 0:
        uid = study_of(number)
        rows[study].append(
            {
                "key": study_key(uid),
                "study_instance_uid": uid,
                "state": StudyState.SUMMARISED,
                **job,
            }
        )
    if not with_result:
        return
    analysable = number % 100 < 88 or state is ImageState.ANALYSED
    rows[result].append(
        {
            "image_key": key,
            "edition": 0,
            "parcel": key,
            "model_sha256": "ab" * 32,
            "model_name": "bench",
            "model_version": "1",
            "created_at": later,
            "state": ImageState.ANALYSED if analysable else ImageState.NOT_ANALYSABLE,
            "objects": ["sr.dcm", "sc.dcm"] if analysable else ["sr.dcm"],
            "uids": [f"2.25.{number}1", f"2.25.{number}2"],
            "reason": None if analysable else _REASONS[number % len(_REASONS)],
            "probability_malignant": number % 100 / 100 if analysable else None,
            "decision": "benign" if analysable else None,
            "unlike_training": False,
            "stage_seconds": {"decode": 0.01, "inference": 0.3},
        }
    )
    done = state is ImageState.DELIVERED
    rows[delivery].append(
        {
            "parcel": key,
            "destination": "pacs",
            "objects": ["sr.dcm", "sc.dcm"] if analysable else ["sr.dcm"],
            "image_key": key,
            "state": DeliveryState.DELIVERED if done else DeliveryState.PENDING,
            "created_at": later,
            "delivered_at": later if done else None,
            "refusals": 0,
            **job,
        }
    )


def _link_files(spool: Spool, count: int) -> None:
    """A few hundred names a file, for a file has no room for more than 65000."""
    spool.prepare()
    small = spool.root / "small"
    for number in range(count):
        if number % 1000 == 0:
            small.unlink(missing_ok=True)
            small.write_bytes(b"\0" * 4096)
        _link(small, spool.image_path(key_of(number)))
        _link(small, spool.results_folder(key_of(number)) / "sr.dcm")
    small.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def since(count: int) -> datetime:
    """When the first of so many images came, if the last one came a moment ago."""
    return datetime.now(UTC) - timedelta(minutes=count)
