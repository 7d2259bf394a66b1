"""Committed is only what lies on disk as it was received."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from service.commitment.verdict import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_OBJECT_INSTANCE,
    PROCESSING_FAILURE,
    failures,
)
from service.journal.records import KeptImage
from service.spool import Spool

US = "1.2.840.10008.5.1.4.1.1.6.1"
KEY = "ab" * 16
REFERENCE = (US, "1.2.3")
DATA_SET = b"what the scanner sent" * 1000


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """One image, with a file meta information of 20 bytes behind its group length."""
    spool = Spool(tmp_path)
    spool.prepare()
    path = spool.image_path(KEY)
    path.parent.mkdir()
    group_length = b"\x02\0\0\0UL\x04\0" + (20).to_bytes(4, "little")
    path.write_bytes(b"\0" * 128 + b"DICM" + group_length + b"m" * 20 + DATA_SET)
    return spool


KEPT = {"1.2.3": KeptImage(KEY, US, hashlib.sha256(DATA_SET).hexdigest(), len(DATA_SET))}


def test_what_is_on_disk_as_it_came_is_committed(spool: Spool) -> None:
    assert failures([REFERENCE], KEPT, spool) == {}


def test_what_was_never_received_is_not(spool: Spool) -> None:
    assert failures([(US, "1.9")], KEPT, spool) == {(US, "1.9"): NO_SUCH_OBJECT_INSTANCE}


def test_nor_what_was_received_as_something_else(spool: Spool) -> None:
    other = ("1.2.840.10008.5.1.4.1.1.3.1", "1.2.3")
    assert failures([other, REFERENCE], KEPT, spool) == {other: CLASS_INSTANCE_CONFLICT}


def _remove(path: Path) -> None:
    path.unlink()


def _flip_the_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("damage", [_remove, _flip_the_last_bit, _truncate, _empty, _lengthen])
def test_nor_what_is_no_longer_as_it_came(spool: Spool, damage: Callable[[Path], None]) -> None:
    damage(spool.image_path(KEY))
    assert failures([REFERENCE], KEPT, spool) == {REFERENCE: PROCESSING_FAILURE}
