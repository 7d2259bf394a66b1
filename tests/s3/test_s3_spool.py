"""What is kept in a bucket is whole and the same for every host; a store that fails is told.

The store is OpenStack Swift with its S3 API: see tests/s3/swift_server.py.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.config import ConfigurationError
from service.monitoring.metrics import Metrics
from service.s3_spool import S3Spool
from service.spool import SpoolFileDamaged, StoreError
from service.spool_opening import open_spool
from tests.s3.server import S3Server

KEY, PARCEL = "ab" * 16, "cd" * 16
NAME = f"images/ab/{KEY}.dcm"


def arrived(spool: S3Spool, content: bytes = b"data set") -> Path:
    path = spool.incoming / "anything.tmp"
    path.write_bytes(content)
    return path


def failures(metrics: Metrics, operation: str) -> float | None:
    labels = {"operation": operation}
    return metrics.registry.get_sample_value("secondread_store_errors_total", labels)


def test_what_one_host_keeps_another_reads(s3: S3Server, bucket: str, open_host) -> None:
    here, there = open_host("a"), open_host("b")
    here.keep_image(KEY, arrived(here))
    here.write_results(PARCEL, [("sr.dcm", b"report"), ("sc.dcm", b"picture")])
    assert s3.names(bucket) == [
        NAME,
        f"results/cd/{PARCEL}/sc.dcm",
        f"results/cd/{PARCEL}/sr.dcm",
    ]
    assert list(here.incoming.iterdir()) == []
    assert there.image_path(KEY).read_bytes() == b"data set"
    assert there.result_path(PARCEL, "sr.dcm").read_bytes() == b"report"
    assert list(there.names()) == s3.names(bucket)


def test_a_prefix_keeps_what_is_ours_apart(s3: S3Server, bucket: str, open_host) -> None:
    ours, others = open_host("a", prefix="site-a"), open_host("b", prefix="site-b")
    ours.keep_image(KEY, arrived(ours))
    assert s3.names(bucket) == [f"site-a/{NAME}"]
    assert list(ours.names()) == [NAME]
    assert list(others.names()) == []
    assert not others.image_path(KEY).exists()


def test_a_result_that_was_written_anew_is_read_anew(open_host) -> None:
    """As by a second worker, with another model, after the first one died before its row."""
    here, there = open_host("a"), open_host("b")
    here.write_results(PARCEL, [("sr.dcm", b"first")])
    there.write_results(PARCEL, [("sr.dcm", b"second")])
    assert here.result_path(PARCEL, "sr.dcm").read_bytes() == b"second"
    assert there.result_path(PARCEL, "sr.dcm").read_bytes() == b"second"


def test_what_was_never_kept_is_not_there(open_host) -> None:
    spool = open_host("a")
    assert not spool.image_path(KEY).exists()
    assert not spool.result_path(PARCEL, "sr.dcm").exists()
    assert spool.reference(PARCEL, "sr.dcm") is None
    with pytest.raises(FileNotFoundError):
        spool.open(NAME)
    with pytest.raises(FileNotFoundError):
        spool.kept_since(KEY)


def test_a_copy_is_no_proof_that_the_image_is_kept(s3: S3Server, bucket: str, open_host) -> None:
    spool = open_host("a")
    spool.keep_image(KEY, arrived(spool))
    s3.client.delete_object(Bucket=bucket, Key=NAME)
    assert spool.image_path(KEY).exists()
    assert not spool.kept_image(KEY).exists()


def test_what_is_removed_is_removed_everywhere(s3: S3Server, bucket: str, open_host) -> None:
    spool = open_host("a")
    spool.keep_image(KEY, arrived(spool))
    spool.write_results(PARCEL, [("sr.dcm", b"report"), ("sc.dcm", b"picture")])
    spool.remove_image(KEY)
    spool.remove_parcel(PARCEL)
    assert s3.names(bucket) == []
    assert not spool.image_path(KEY).exists()


def test_copies_are_bounded_and_fetched_again(open_host) -> None:
    keys = [f"{number:032x}" for number in range(4)]
    spool = open_host("a", cache_bytes=2000)
    for number, key in enumerate(keys):
        path = spool.keep_image(key, arrived(spool, bytes([number]) * 1000))
        os.utime(path, (number, number))
    spool.remove_copies(in_use_seconds=3600)
    kept = sorted(path.stem for path in spool.root.glob("images/*/*.dcm"))
    assert kept == keys[2:], "those that were asked for last"
    assert spool.image_path(keys[0]).read_bytes() == bytes(1000)
    spool.remove_copies(in_use_seconds=3600)
    assert spool.root.joinpath("images", keys[0][:2], f"{keys[0]}.dcm").exists(), "it is in use"


def test_what_was_damaged_in_the_store_is_not_taken(s3: S3Server, bucket: str, open_host) -> None:
    here, there = open_host("a"), open_host("b")
    here.keep_image(KEY, arrived(here))
    stored = s3.client.get_object(Bucket=bucket, Key=NAME)["Metadata"]
    s3.client.put_object(Bucket=bucket, Key=NAME, Body=b"data sat", Metadata=stored)
    with pytest.raises(SpoolFileDamaged):
        there.image_path(KEY)
    assert here.image_path(KEY).read_bytes() == b"data set", "its copy is what was put there"
    assert not here.kept_image(KEY).exists()
    assert list(there.root.rglob("*.dcm")) == []
    assert list(there.root.rglob("*.tmp")) == []


def test_a_server_that_is_killed_in_mid_put_keeps_nothing_of_it(
    s3: S3Server, bucket: str, open_host
) -> None:
    metrics = Metrics()
    spool = open_host("a", metrics)
    content = os.urandom(1 << 20) * 100
    failed: list[BaseException] = []

    def keep() -> None:
        try:
            spool.keep_image(KEY, arrived(spool, content))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=keep)
    thread.start()
    before = s3.written_bytes()
    while s3.written_bytes() - before < 20 << 20:
        assert thread.is_alive(), "it was too fast for us"
        time.sleep(0.001)
    s3.kill()
    thread.join()
    s3.start()
    assert [type(error) for error in failed] == [StoreError]
    assert failures(metrics, "put") == 1
    assert s3.names(bucket) == []
    assert not spool.image_path(KEY).exists()
    spool.keep_image(KEY, arrived(spool, content))
    assert spool.kept_image(KEY).read_bytes() == content


def test_what_was_kept_survives_the_death_of_the_server(s3: S3Server, open_host) -> None:
    here, there = open_host("a"), open_host("b")
    here.keep_image(KEY, arrived(here))
    s3.kill()
    with pytest.raises(StoreError, match="does not answer"):
        there.image_path(KEY)
    s3.start()
    assert there.image_path(KEY).read_bytes() == b"data set"


def test_a_server_that_hangs_is_left_in_the_end(s3: S3Server, open_host) -> None:
    spool = open_host("a", timeout=0.3)
    s3.freeze()
    try:
        for ask in (spool.check, lambda: spool.image_path(KEY), lambda: list(spool.names())):
            with pytest.raises(StoreError, match="does not answer"):
                ask()
    finally:
        s3.thaw()
    spool.check()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"secret_key": "wrong-secret"}, "403 SignatureDoesNotMatch"),
        ({"access_key": "test:nobody"}, "403"),
        ({"bucket": "elsewhere"}, "404 NoSuchBucket"),
    ],
    ids=["secret", "name", "bucket"],
)
def test_a_store_that_refuses_us_lacks_nothing(
    s3: S3Server, open_host, caplog, section: dict[str, str], words: str
) -> None:
    """No image is taken for a lost one, and nobody is told a secret or an address."""
    caplog.set_level("INFO")
    spool = open_host("a", **section)
    asked: list[Callable[[], object]] = [
        spool.check,
        lambda: spool.image_path(KEY),
        lambda: spool.keep_image(KEY, arrived(spool)),
        lambda: spool.image_keys("ab"),
        lambda: spool.remove_image(KEY),
    ]
    for ask in asked:
        with pytest.raises(StoreError, match=words) as told:
            ask()
        for secret in (s3.secret_key, "wrong-secret", s3.url, KEY):
            assert secret not in str(told.value) + repr(told.value) + caplog.text


def test_credentials_may_come_from_a_file(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    file = s3.write_credentials(tmp_path / "credentials")
    section = {"access_key": "", "secret_key": "", "credentials_file": file}
    open_spool(s3.settings(bucket, tmp_path, spool=section)).check()
    file.write_text("")
    with pytest.raises(ConfigurationError, match="aws_secret_access_key"):
        open_spool(s3.settings(bucket, tmp_path, spool=section))
