"""Operators' links: each image in one lesion at most, and a new summary for each change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from service.journal.journal import Journal
from service.journal.records import LesionLink, ReceivedImage

STUDY = "1.2.3.77"


def received(journal: Journal, image: Callable[..., ReceivedImage], *numbers: int) -> list[str]:
    keys = []
    for number in numbers:
        one = replace(image(number), study_instance_uid=STUDY)
        journal.record_received(one)
        keys.append(one.key)
    return keys


def test_images_are_linked_once_and_the_same_ones_always_make_the_same_lesion(
    journal: Journal, image
) -> None:
    first, second, third = received(journal, image, 1, 2, 3)
    link = journal.link_lesion([second, first, first], "L")
    assert link is not None
    assert link.keys == tuple(sorted((first, second)))
    assert journal.lesion_links(STUDY) == [link]
    assert journal.link_lesion([first, third], None) is None
    assert journal.unlink_lesion(second) == link
    assert journal.unlink_lesion(second) is None
    assert journal.lesion_links(STUDY) == []
    assert journal.link_lesion([first, second], "R") == replace(link, side="R")


def test_what_makes_no_lesion_is_not_linked(journal: Journal, image) -> None:
    (first,) = received(journal, image, 1)
    other = replace(image(2), study_instance_uid="1.2.3.78")
    journal.record_received(other)
    for keys in ([first], [first, first], [first, other.key], [first, "no such image"], []):
        assert journal.link_lesion(keys, None) is None
    assert journal.lesion_links(STUDY) == []


def test_two_lesions_of_a_study_are_told_apart(journal: Journal, image) -> None:
    keys = received(journal, image, 1, 2, 3, 4)
    links = [journal.link_lesion(keys[:2], "L"), journal.link_lesion(keys[2:], None)]
    assert all(isinstance(link, LesionLink) for link in links)
    assert journal.lesion_links(STUDY) == sorted(links, key=lambda link: link.lesion)
