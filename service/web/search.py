"""From what an operator has at hand to the image: a key, a UID, a pseudonym of the audit trail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from service.audit.messages import pseudonym
from service.journal.journal import Journal
from service.journal.records import ImageFilter

_KEY = re.compile("[0-9a-f]{6,32}")
_UID = re.compile(r"[0-9.]{3,64}")
_PSEUDONYM = "2.25."


@dataclass(frozen=True)
class Found:
    """keys: of the images. study: whether a study was named.

    prefix: what all of them begin with, if it was that.
    """

    keys: Sequence[str]
    study: bool = False
    prefix: str | None = None


def search(journal: Journal, words: str) -> Found | None:
    """words: the beginning of an image's key (6 digits at least), the UID of an image, of a study
    or of a result of ours, or the pseudonym of one of the first two.
    """
    if _KEY.fullmatch(words) and (row := journal.image(words)):
        return Found([row.key])
    if _UID.fullmatch(words):
        if found := _by_uid(journal, words):
            return found
        if words.startswith(_PSEUDONYM) and (
            uid := journal.uid_of(lambda known: pseudonym(known) == words)
        ):
            return _by_uid(journal, uid)
    if _KEY.fullmatch(words):
        rows = journal.images(2, ImageFilter(key_prefix=words))
        if rows:
            several = words if len(rows) > 1 else None
            return Found([row.key for row in rows], prefix=several)
    return None


def _by_uid(journal: Journal, uid: str) -> Found | None:
    if keys := journal.keys_of(uid):
        return Found(keys[-1:])
    if keys := journal.keys_of_study(uid):
        return Found(keys, study=True)
    if keys := journal.keys_of_result(uid):
        return Found(keys)
    return None
