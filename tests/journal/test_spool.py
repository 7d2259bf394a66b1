"""What is visible in the spool is complete and on disk, whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service import spool as spool_module
from service.spool import Spool, image_key, write_durably

KEY = "ab" * 16


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    return spool


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_key_tells_content_and_encoding_apart_but_nothing_else() -> None:
    uid, syntax, digest = "1.2.826.0.1.3680043.8.498.1", "1.2.840.10008.1.2.1", "0" * 64

    key = image_key(uid, syntax, digest)

    assert key == image_key(uid, syntax, digest)
    assert len(key) == 32
    assert int(key, 16)
    assert uid not in key
    others = [
        image_key(uid + "1", syntax, digest),
        image_key(uid, "1.2.840.10008.1.2.5", digest),
        image_key(uid, syntax, "1" * 64),
    ]
    assert len({key, *others}) == 4


def test_an_image_moves_from_incoming_to_its_name(spool: Spool) -> None:
    arrived = spool.incoming / "anything"
    arrived.write_bytes(b"data set")

    path = spool.keep_image(KEY, arrived)

    assert path == spool.image_path(KEY)
    assert files(spool.root) == [f"images/ab/{KEY}.dcm"]
    assert path.read_bytes() == b"data set"


def test_results_are_written_under_their_names_and_replaced_by_a_retry(spool: Spool) -> None:
    spool.write_results(KEY, [("sr.dcm", b"first"), ("sc.dcm", b"first")])
    folder = spool.write_results(KEY, [("sr.dcm", b"second")])

    assert folder == spool.results_folder(KEY)
    assert files(folder) == ["sc.dcm", "sr.dcm"]
    assert (folder / "sr.dcm").read_bytes() == b"second"


def test_two_threads_may_write_the_same_result(spool: Spool) -> None:
    """A worker that lost its lease, and the one that has it now."""
    contents = [bytes([byte]) * 100_000 for byte in (1, 2)]
    failures: list[OSError] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(20):
                spool.write_results(KEY, [("sr.dcm", content)])
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert files(spool.results_folder(KEY)) == ["sr.dcm"]
    assert (spool.results_folder(KEY) / "sr.dcm").read_bytes() in contents


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "sr.dcm"
    write_durably(target, b"old")
    with pytest.raises(TypeError):
        write_durably(target, "no bytes")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert files(tmp_path) == ["sr.dcm"]


def test_a_file_is_on_disk_before_it_has_its_name(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of the calls is all that a test without a power cut can see."""
    calls: list[str] = []
    fsync, replace = spool_module.os.fsync, spool_module.os.replace
    monkeypatch.setattr("os.fsync", lambda file: (calls.append("fsync"), fsync(file)))
    monkeypatch.setattr("os.replace", lambda a, b: (calls.append("rename"), replace(a, b)))

    spool.write_results(KEY, [("sr.dcm", b"content")])

    assert calls[-3:] == ["fsync", "rename", "fsync"]


@pytest.mark.parametrize("name", ["sr.dcm", "sc.dcm"], ids=["a file again", "a new file"])
def test_a_kill_in_mid_write_leaves_no_half_file(spool: Spool, name: str) -> None:
    script = Path(__file__).with_name("killed_writer.py")

    killed = subprocess.run([sys.executable, str(script), str(spool.root), name], timeout=30)

    assert killed.returncode == -signal.SIGXFSZ
    folder = spool.results_folder(KEY)
    assert [path.name for path in folder.glob("[!.]*")] == ["sr.dcm"]
    assert (folder / "sr.dcm").read_bytes() == b"a" * (1 << 20)
