"""Names that say nothing of whom they name."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np


def pseudonyms(patients: Collection[str], seed: int) -> dict[str, str]:
    """``p0001`` … for each patient: the places of a shuffle, no function of the identifier alone.

    The shuffle is drawn from the seed and from all identifiers together: the same patients and seed
    give the same names, and to undo it one needs the seed and the whole list. (A keyed hash of the
    identifier could be undone by trying all identifiers of a hospital as soon as the key is known.)
    """
    known = sorted(set(patients))
    content = "\0".join([str(seed), *known]).encode()
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(content).digest()))
    digits = max(4, len(str(len(known))))
    return {
        known[place]: f"p{number:0{digits}d}"
        for number, place in enumerate(random.permutation(len(known)), start=1)
    }
