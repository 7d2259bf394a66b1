"""Whether we hold what a peer asks us to commit to: the journal's row and the file on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.journal.records import KeptImage, Reference
from service.spool import Spool

PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
"""Failure Reasons (PS3.3 C.14.1.1)."""

_CHUNK = 1 << 20
_GROUP_LENGTH_END = 144
"""After preamble, prefix and File Meta Information Group Length (PS3.10 section 7.1)."""


def failures(
    references: Sequence[Reference], kept: Mapping[str, KeptImage], spool: Spool
) -> dict[Reference, int]:
    """Failure Reason of each reference that cannot be committed to; every file is read whole.

    kept: see ``Journal.kept``. Raises StoreError where nobody can tell now.
    """
    reasons = {}
    for reference in references:
        reason = _failure(reference, kept.get(reference[1]), spool)
        if reason:
            reasons[reference] = reason
    return reasons


def _failure(reference: Reference, image: KeptImage | None, spool: Spool) -> int:
    """0 if it is kept."""
    if image is None:
        return NO_SUCH_OBJECT_INSTANCE
    if image.sop_class_uid != reference[0]:
        return CLASS_INSTANCE_CONFLICT
    if content_of(spool.kept_image(image.key)) != (image.size_bytes, image.digest):
        return PROCESSING_FAILURE
    return 0


def content_of(path: Path) -> tuple[int, str] | None:
    """Size and sha256 of a file's data set, without its file meta information; None without."""
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as stream:
            start = stream.read(_GROUP_LENGTH_END)
            if len(start) != _GROUP_LENGTH_END or start[128:132] != b"DICM":
                return None
            stream.seek(int.from_bytes(start[-4:], "little"), os.SEEK_CUR)
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError:
        return None
    return size, digest.hexdigest()
