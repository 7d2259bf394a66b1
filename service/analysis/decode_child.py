"""The decoder's child process: parses and decodes files from outside, within limits.

``python -P -m service.analysis.decode_child PARENT_PID MEGABYTES``. A request is one line of JSON
on standard input, an answer one line of JSON on standard output, followed by ``bytes`` raw bytes:

- ``{"path": p, "frame": 0}`` → ``{"frames": n}``
- ``{"path": p, "frame": i}`` → ``{"rows": h, "columns": w, "bytes": h·w·3}`` and the RGB pixels
- either → ``{"error": code, "text": sentence}``, see ``DecodeError``

Standard error goes nowhere: what the libraries write there may quote the data set.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from service.analysis.decode_error import DecodeError
from service.analysis.header_bounds import require_moderate_header
from service.analysis.pixels import (
    decode_frame,
    number_of_frames,
    require_known_syntax,
    require_moderate_inflation,
)

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until standard input ends."""
    parent, megabytes = int(sys.argv[1]), int(sys.argv[2])
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    warnings.simplefilter("ignore")
    _die_with(parent)
    _limit(megabytes)
    _serve(sys.stdin.buffer, answers)


def _die_with(parent: int) -> None:
    """Be killed with the parent, also while native code runs (Linux; elsewhere the pipe's end)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the parent has gone")


def _limit(megabytes: int) -> None:
    """``megabytes`` of address space beyond what the interpreter holds; no core dump, no files."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    address_space = pages * resource.getpagesize() + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    source = _Source()
    for line in requests:
        request = json.loads(line)
        path, number = Path(request["path"]), request["frame"]
        pixels = b""
        try:
            if number == 0:
                answer: dict[str, object] = {"frames": _frames(path)}
            else:
                frame = _decode(source, path, number)
                pixels = frame.tobytes()
                answer = {"rows": frame.shape[0], "columns": frame.shape[1], "bytes": len(pixels)}
        except DecodeError as error:
            answer = {"error": error.code, "text": error.text}
        except MemoryError:
            source.forget()
            answer = {"error": "decode-memory", "text": "Decoding needs more memory than allowed."}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.write(pixels)
        answers.flush()


def _header(path: Path) -> Dataset:
    """All before the pixel data. Raises DecodeError: not-dicom or unreadable-header."""
    try:
        require_moderate_inflation(path)
        header = dcmread(path, stop_before_pixels=True)
        header["SOPClassUID"]  # what is no data set, or breaks off, is read as an empty one
    except DecodeError:
        raise
    except InvalidDicomError as error:
        raise DecodeError("not-dicom", "The file is not DICOM Part 10.") from error
    except Exception as error:  # the parser raises what it likes
        raise DecodeError("unreadable-header", "The data set cannot be parsed.") from error
    return header


def _frames(path: Path) -> int:
    """Number of Frames of a header that the worker may parse. Raises DecodeError."""
    header = _header(path)
    require_moderate_header(header)
    try:
        return number_of_frames(header)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # a VR that is none, or a text that is no number
        raise DecodeError("unreadable-header", "The Number of Frames cannot be read.") from error


class _Source:
    """The data set that was read last, kept for the next frame of a cine."""

    def __init__(self) -> None:
        self._identity: tuple[Path, int, int] | None = None
        self._dataset = Dataset()

    def read(self, path: Path) -> Dataset:
        """Header and pixel data. Raises DecodeError."""
        status = path.stat()
        identity = (path, status.st_mtime_ns, status.st_size)
        if self._identity != identity:
            self.forget()
            require_known_syntax(_header(path))
            dataset = dcmread(path)
            if "SOPClassUID" not in dataset:
                raise DecodeError("undecodable", "The file is truncated.")
            self._dataset, self._identity = dataset, identity
        return self._dataset

    def forget(self) -> None:
        self._dataset, self._identity = Dataset(), None


def _decode(source: _Source, path: Path, number: int) -> NDArray[np.uint8]:
    try:
        frame = decode_frame(source.read(path), number)
        if frame.ndim != 3 or frame.shape[2] != 3:
            raise DecodeError("undecodable", "The pixel data are no picture of three colours.")
        return frame
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # as do the plugins
        raise DecodeError("undecodable", "The pixel data cannot be decoded.") from error


if __name__ == "__main__":
    main()
