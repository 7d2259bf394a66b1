"""A received image is a row on disk before Success is answered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta, timezone

import pytest

from service.journal.journal import Journal, JournalError
from service.journal.records import ImageState, Receipt, ReceivedImage

Image = Callable[..., ReceivedImage]


def test_a_new_image_waits_for_its_analysis(journal: Journal, image: Image) -> None:
    receipt = journal.record_received(image(1))

    assert receipt == Receipt(image(1).key, duplicate=False, state=ImageState.RECEIVED)
    row = journal.image(receipt.key)
    assert row is not None
    assert row.sop_instance_uid == image(1).sop_instance_uid
    assert row.received_at == image(1).received_at
    assert (row.attempts, row.duplicates, row.revision) == (0, 0, 0)
    assert row.outcome is None
    assert row.deliveries == ()


def test_the_same_content_again_changes_nothing_but_a_count(journal: Journal, image: Image) -> None:
    journal.record_received(image(1))
    journal.lease_analysis(image(1).key, 10)

    receipt = journal.record_received(image(1))

    assert receipt == Receipt(image(1).key, duplicate=True, state=ImageState.RECEIVED)
    row = journal.image(image(1).key)
    assert row is not None
    assert (row.attempts, row.duplicates, row.revision) == (1, 1, 0)
    assert journal.lease_analysis(image(1).key, 10) is None


def test_other_content_under_the_same_uid_is_the_next_revision(
    journal: Journal, image: Image
) -> None:
    uid = "1.2.3"
    keys = [journal.record_received(image(n, sop_instance_uid=uid)).key for n in (1, 2, 3)]

    assert journal.keys_of(uid) == keys
    jobs = [journal.lease_analysis(key, 10) for key in keys]
    assert [job.revision for job in jobs if job] == [0, 1, 2]


def test_what_is_not_for_us_ends_at_once(journal: Journal, image: Image) -> None:
    receipt = journal.record_received(image(1, ignored_reason="structured-report"))

    assert receipt.state is ImageState.IGNORED
    row = journal.image(receipt.key)
    assert row is not None
    assert row.ignored_reason == "structured-report"
    assert journal.lease_analysis(receipt.key, 10) is None
    assert journal.overdue(publish_grace=0) == []


def test_times_come_back_in_utc_whatever_their_zone_was(journal: Journal, image: Image) -> None:
    beijing = image(1).received_at.astimezone(timezone(timedelta(hours=8)))
    journal.record_received(image(1, received_at=beijing))

    row = journal.image(image(1).key)

    assert row is not None
    assert row.received_at == beijing
    assert row.received_at.utcoffset() == timedelta(0)


def test_a_time_without_zone_is_refused(journal: Journal, image: Image) -> None:
    with pytest.raises(JournalError):
        journal.record_received(image(1, received_at=image(1).received_at.replace(tzinfo=None)))
    assert journal.image(image(1).key) is None


@pytest.mark.parametrize("same_uid", [False, True], ids=["many UIDs", "one UID"])
def test_a_storm_of_insertions_loses_and_doubles_nothing(
    journal: Journal, image: Image, same_uid: bool
) -> None:
    """Four associations, 25 images each; in the worst case they all fight for one revision."""
    different = {"sop_instance_uid": "1.2.3"} if same_uid else {}
    receipts: list[Receipt] = []

    def associate(first: int) -> None:
        for number in range(first, first + 25):
            receipts.append(journal.record_received(image(number, **different)))
            receipts.append(journal.record_received(image(number, **different)))

    threads = [threading.Thread(target=associate, args=(first,)) for first in (0, 25, 50, 75)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(not receipt.duplicate for receipt in receipts) == 100
    assert sum(receipt.duplicate for receipt in receipts) == 100
    rows = journal.images(limit=200)
    assert len({row.key for row in rows}) == 100
    assert sorted(row.revision for row in rows) == (list(range(100)) if same_uid else [0] * 100)


def test_the_same_image_from_two_associations_at_once_is_one_image(
    journal: Journal, image: Image
) -> None:
    barrier = threading.Barrier(4)
    receipts: list[Receipt] = []

    def associate() -> None:
        for number in range(10):
            barrier.wait(10)
            receipts.append(journal.record_received(image(number)))

    threads = [threading.Thread(target=associate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(not receipt.duplicate for receipt in receipts) == 10
    assert [row.duplicates for row in journal.images()] == [3] * 10
