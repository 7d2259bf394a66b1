"""The decoder's child process: its limits, and what becomes of a request when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    RLELossless,
)

from service.analysis.decode import Decoder
from service.analysis.decode_error import DecodeError
from service.analysis.pixels import decode_frame

Saved = Callable[..., Path]


def test_a_bomb_reaches_the_memory_limit_and_the_next_file_is_decoded(
    tissue: Dataset, saved: Saved
) -> None:
    good = saved(tissue, "good.dcm")
    tissue.Rows = tissue.Columns = 8000
    tissue.PixelData = encapsulate([b"\0" * 64])
    tissue["PixelData"].is_undefined_length = True
    tissue.file_meta.TransferSyntaxUID = RLELossless
    with Decoder(seconds=20, megabytes=100) as decoder:
        with pytest.raises(DecodeError) as caught:
            decoder.frame(saved(tissue, "bomb.dcm"), 1)
        assert caught.value.code == "decode-memory"
        assert decoder.frame(good, 1).shape == (240, 320, 3)


def test_the_memory_limit_is_the_childs_own(tissue: Dataset, saved: Saved) -> None:
    path = saved(tissue)
    with Decoder(seconds=20, megabytes=300) as decoder:
        decoder.frame(path, 1)
        limits = Path(f"/proc/{decoder.child_pid}/limits").read_text()
        sizes = next(line for line in limits.splitlines() if line.startswith("Max address space"))
        assert 300 << 20 < int(sizes.split()[3]) < 4 << 30


def test_a_child_that_was_killed_is_replaced(tissue: Dataset, saved: Saved) -> None:
    path = saved(tissue)
    with Decoder(seconds=20, megabytes=1024) as decoder:
        expected = decoder.frame(path, 1)
        killed = decoder.child_pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        assert np.array_equal(decoder.frame(path, 1), expected)
        assert decoder.child_pid != killed


def test_a_child_that_is_killed_at_work_is_replaced(tissue: Dataset, saved: Saved) -> None:
    path = saved(tissue)
    with Decoder(seconds=20, megabytes=1024) as decoder, ThreadPoolExecutor() as pool:
        expected = decoder.frame(path, 1)
        child = decoder.child_pid
        assert child is not None
        os.kill(child, signal.SIGSTOP)  # so that the request surely waits for this child
        waiting = pool.submit(decoder.frame, path, 1)
        time.sleep(0.2)
        assert not waiting.done()
        os.kill(child, signal.SIGKILL)
        assert np.array_equal(waiting.result(20), expected)


def test_a_file_that_kills_the_child_twice_is_refused(tissue: Dataset, saved: Saved) -> None:
    path = saved(tissue)
    with Decoder(seconds=20, megabytes=1024) as decoder, ThreadPoolExecutor() as pool:
        decoder.frame(path, 1)
        killed: set[int] = set()
        waiting = pool.submit(decoder.frame, path, 1)
        while not waiting.done():
            child = decoder.child_pid
            if child is not None:
                killed.add(child)
                # Whatever it does, it does not come to an answer.
                _kill(child)
            time.sleep(0.001)
        with pytest.raises(DecodeError) as caught:
            waiting.result()
        assert caught.value.code == "decode-crashed"
        assert len(killed) >= 2
        assert decoder.frame(path, 1).shape == (240, 320, 3)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_a_child_that_hangs_is_killed_after_the_time_limit(tissue: Dataset, saved: Saved) -> None:
    path = saved(tissue)
    with Decoder(seconds=3, megabytes=1024) as decoder:
        decoder.frame(path, 1)
        child = decoder.child_pid
        assert child is not None
        os.kill(child, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(DecodeError) as caught:
            decoder.frame(path, 1)
        assert caught.value.code == "decode-timeout"
        assert 2.9 < time.monotonic() - started < 10
        assert not Path(f"/proc/{child}").exists()
        assert decoder.frame(path, 1).shape == (240, 320, 3)


def test_threads_share_a_decoder(us_dicom: Path, decoder: Decoder) -> None:
    files = sorted((us_dicom / "breast").glob("uta7*.dcm"))
    expected = [decode_frame(dcmread(file), 1) for file in files]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda file: decoder.frame(file, 1), files * 4))
    assert all(np.array_equal(one, two) for one, two in zip(found, expected * 4, strict=True))


def test_a_child_whose_starting_thread_has_ended_is_replaced(tissue: Dataset, saved: Saved) -> None:
    """The kernel sends the parent-death signal when the starting thread ends."""
    path = saved(tissue)
    made: list[Decoder] = []
    thread = threading.Thread(target=lambda: made.append(Decoder(20, 1024)))
    thread.start()
    thread.join()
    with made[0] as decoder:
        assert decoder.frame(path, 1).shape == (240, 320, 3)


def test_the_child_dies_with_its_parent(
    tissue: Dataset, saved: Saved, eventually: Callable[..., None]
) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from service.analysis.decode import Decoder\n"
        "decoder = Decoder(20, 1024)\n"
        "decoder.frame(Path(sys.argv[1]), 1)\n"
        "print(decoder.child_pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(saved(tissue))], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, signal.SIGSTOP)  # it cannot see the end of its pipe, only the kernel's signal
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not Path(f"/proc/{child}").exists())
