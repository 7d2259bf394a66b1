"""After the storm: is everything there that was acknowledged, once, and nothing else?"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.filereader import dcmread as read

from service.journal.records import DeliveryState, ImageRow, ImageState, Stage
from tests.chaos.hospital import Hospital
from tests.chaos.scanner import Sent

_REPORT, _CAPTURE = "SR", "OT"
FINAL = {ImageState.DELIVERED, ImageState.FAILED}


@dataclass
class Accounts:
    """lost: acknowledged contents without a result everywhere, or a reason. doubled: results of an
    image at a destination beyond one SR and one SC for each content. orphans: what is on disk, or
    in the journal, without the other. inconsistent: in words."""

    acknowledged: int = 0
    images: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    inconsistent: list[str] = field(default_factory=list)
    failed: int = 0
    retransmissions: int = 0
    states: Counter[str] = field(default_factory=Counter)


def rows(hospital: Hospital) -> list[ImageRow]:
    return hospital.journal.images(limit=1_000_000)


def unfinished(hospital: Hospital, acknowledged: Iterable[Sent]) -> int:
    """Acknowledged contents without a final state."""
    known = {row.sop_instance_uid for row in rows(hospital) if row.state in FINAL}
    waiting = sum(row.state not in FINAL for row in rows(hospital))
    return waiting + sum(sent.uid not in known for sent in acknowledged)


def settle(hospital: Hospital, acknowledged: list[Sent]) -> Accounts:
    accounts = Accounts(acknowledged=len(acknowledged))
    every = rows(hospital)
    accounts.images = len(every)
    accounts.states.update(row.state.value for row in every)
    by_uid = defaultdict(list)
    for row in every:
        by_uid[row.sop_instance_uid].append(row)
    contents = Counter(sent.uid for sent in acknowledged)
    places = {"pacs-0": _in_orthanc(hospital), "pacs-1": _in_archive(hospital)}
    for uid, number in contents.items():
        found = by_uid.get(uid, [])
        if len(found) < number:
            accounts.lost.append(f"{uid}: {number} contents acknowledged, {len(found)} known")
    for row in every:
        if row.state is ImageState.FAILED:
            accounts.failed += 1
            if not row.last_error:
                accounts.lost.append(f"{row.key}: failed without a reason")
            continue
        if row.state is not ImageState.DELIVERED or row.outcome is None:
            accounts.lost.append(f"{row.key}: {row.state}")
            continue
        for place, objects in places.items():
            missing = set(row.outcome.uids) - objects.keys()
            if missing:
                accounts.lost.append(f"{row.key}: {len(missing)} results not at {place}")
    for place, objects in places.items():
        results: Counter[tuple[str, str]] = Counter(objects.values())
        for (source, modality), number in results.items():
            if number > len(by_uid.get(source, [])):
                accounts.doubled.append(f"{place}: {number} {modality} of one image")
    accounts.retransmissions = sum(hospital.archive.came.values()) - len(hospital.archive.came)
    accounts.orphans = _orphans(hospital, every)
    accounts.inconsistent = _inconsistent(hospital, every)
    return accounts


def _described(data_set: Dataset) -> tuple[str, str]:
    """The image that a result is about, and its modality."""
    if data_set.Modality == _REPORT:
        (study,) = data_set.CurrentRequestedProcedureEvidenceSequence
        sources = [
            each.ReferencedSOPInstanceUID
            for series in study.ReferencedSeriesSequence
            for each in series.ReferencedSOPSequence
            if str(each.ReferencedSOPClassUID).startswith("1.2.840.10008.5.1.4.1.1.6")
        ]
        return str(sources[0]), _REPORT
    return str(data_set.SourceImageSequence[0].ReferencedSOPInstanceUID), str(data_set.Modality)


def _in_archive(hospital: Hospital) -> dict[str, tuple[str, str]]:
    return {
        path.stem: _described(read(path, stop_before_pixels=True))
        for path in hospital.archive.files()
    }


def _in_orthanc(hospital: Hospital) -> dict[str, tuple[str, str]]:
    found = {}
    for instance in hospital.orthanc.get("/instances"):
        content = hospital.orthanc.content(f"/instances/{instance}/file")
        data_set = dcmread(BytesIO(content), stop_before_pixels=True)
        found[str(data_set.SOPInstanceUID)] = _described(data_set)
    return found


def _orphans(hospital: Hospital, every: list[ImageRow]) -> list[str]:
    spool = hospital.spool
    keys = {row.key for row in every}
    files = {path.stem for path in spool.root.glob("images/*/*.dcm")}
    parcels = {each.parcel for row in every for each in row.results}
    folders = {path.name for path in spool.root.glob("results/*/*")}
    found = [f"image {key} without a row" for key in files - keys]
    found += [f"row {key} without its image" for key in keys - files]
    found += [f"results {parcel} without a row" for parcel in folders - parcels]
    found += [f"row without its results {parcel}" for parcel in parcels - folders]
    found += [
        f"temporary file {path.name}"
        for path in (*spool.incoming.iterdir(), *spool.root.glob("results/*/*/.*.tmp"))
    ]
    return sorted(found)


def _inconsistent(hospital: Hospital, every: list[ImageRow]) -> list[str]:
    counts = hospital.journal.counts()
    found = [
        f"{counts.waiting[stage]} jobs of {stage} unfinished"
        for stage in (Stage.ANALYSIS, Stage.DELIVERY, Stage.COMMITMENT)
        if counts.waiting[stage]
    ]
    for row in every:
        if len({each.edition for each in row.results}) != len(row.results) or len(row.results) > 1:
            found.append(f"{row.key}: {len(row.results)} results")
        if row.state is ImageState.DELIVERED and any(
            each.state is not DeliveryState.DELIVERED for each in row.deliveries
        ):
            found.append(f"{row.key}: delivered, but not everywhere")
        if not hospital.spool.image_path(row.key).is_file():
            found.append(f"{row.key}: no image")
    file = hospital.data_dir / "journal.sqlite3"
    if file.exists():
        with sqlite3.connect(file) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            found.append(f"SQLite: {verdict}")
    return found


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
