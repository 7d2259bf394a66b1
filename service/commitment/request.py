"""The question to a destination whether it commits to what it has stored (PS3.4 J.3.2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pynetdicom import evt

from service.commitment.information import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    action_information,
)
from service.journal.records import Reference
from service.scu import AssociationFailed, Peer, associated, status_of

_POLL_SECONDS = 0.1


class NotSupported(Exception):
    """The peer takes no such question; the text says how it refused."""


def ask(
    peer: Peer,
    calling_ae_title: str,
    transaction_uid: str,
    references: Sequence[Reference],
    take: Callable[[evt.Event], Any],
    settled: Callable[[], bool],
    wait_seconds: float,
) -> None:
    """N-ACTION, then stay for a report on this association.

    take: handler of EVT_N_EVENT_REPORT.
    settled: whether the report has come, here or elsewhere; nobody waits longer.
    wait_seconds: nor longer than this; the report may come on an association of the peer's own.
    Raises AssociationFailed without an association or an answer, NotSupported for a refusal.
    """
    contexts = [(PUSH_MODEL, "1.2.840.10008.1.2")]
    handlers = [(evt.EVT_N_EVENT_REPORT, take)]
    with associated(peer, calling_ae_title, contexts, handlers) as association:
        if not association.is_established:
            raise NotSupported(f"{peer} does not support storage commitment")
        try:
            response, _ = association.send_n_action(
                action_information(transaction_uid, references),
                REQUEST_COMMITMENT,
                PUSH_MODEL,
                PUSH_MODEL_INSTANCE,
            )
        except RuntimeError:  # pynetdicom's, where the association is no longer established
            raise AssociationFailed(f"{peer} ended the association") from None
        status = status_of(response)
        if status is None:
            raise AssociationFailed(f"{peer} did not answer the request for commitment")
        if status != 0:
            raise NotSupported(f"{peer} refused the request for commitment (0x{status:04X})")
        deadline = time.monotonic() + wait_seconds
        while association.is_established and time.monotonic() < deadline and not settled():
            time.sleep(_POLL_SECONDS)
