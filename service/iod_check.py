"""``dciodvfy`` at run time, where it is installed: a second opinion on every object of ours.

David Clunie's validator (Debian: dicom3tools) knows what ``dicom_sr.validity`` leaves out:
conditions, enumerated values and templates. It takes some 20 ms an object.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from collections.abc import Collection
from tempfile import TemporaryFile

log = logging.getLogger(__name__)

_PROGRAM = "dciodvfy"
_RETURN_CODES = (0, 1)
"""Without and with errors; anything else is a crash."""

_ERROR = re.compile(
    r"Error - (?P<path></[^<>]*> - )?(?P<message>[^<=\"]*)(?P<module>(?<=Module)=<\w+>)?"
)
"""Path and message as far as the first value, which may be the patient's: values follow a ``=``,
in ``<…>`` or in quotes. The name of a module is none."""


class IodCheck:
    """Thread-safe.

    seconds: after so long it is ended.
    program: name or path.
    """

    def __init__(self, seconds: float = 10.0, program: str = _PROGRAM) -> None:
        self._seconds = seconds
        self._program = program
        self._told = False

    @staticmethod
    def available() -> bool:
        """Whether dciodvfy is installed."""
        return shutil.which(_PROGRAM) is not None

    def errors(self, content: bytes, tolerated_uids: Collection[str] = ()) -> list[str]:
        """What dciodvfy calls an error in a Part 10 file, each once and without any value.

        What it says of letters is left to ``dicom_sr.validity``, see ``_is_about_letters``.

        tolerated_uids: errors that quote one of these are left out, because the source image
            itself has it wrong, and a result must name the image as it is.

        No errors, and once a line in the log, if dciodvfy gives no judgement: it is not the only
        check.
        """
        try:
            # It wants a file that it can seek in; this one has no name that could stay behind.
            with TemporaryFile() as file:
                file.write(content)
                file.seek(0)
                done = subprocess.run(  # noqa: S603
                    [self._program, "-new"],
                    stdin=file,
                    capture_output=True,
                    timeout=self._seconds,
                    check=False,
                )
        except subprocess.TimeoutExpired:
            return self._without_judgement(f"did not end within {self._seconds:g} s")
        except OSError as error:
            return self._without_judgement(f"cannot be run: {error.strerror}")
        if done.returncode not in _RETURN_CODES:
            return self._without_judgement(f"ended with return code {done.returncode}")
        said = (done.stdout + done.stderr).decode(errors="replace")
        found = [line for line in said.split("\n") if line.startswith("Error")]
        if not said or (done.returncode and not found):
            return self._without_judgement("said nothing")
        lines = [line for line in found if not _is_about_letters(line)]
        quoted = [f"<{uid}>" for uid in tolerated_uids if uid]
        ours = [line for line in lines if not any(uid in line for uid in quoted)]
        return list(dict.fromkeys(_without_values(line) for line in ours))

    def _without_judgement(self, why: str) -> list[str]:
        if not self._told:
            self._told = True
            log.warning("dciodvfy %s: its check is left out where that happens", why)
        return []


def _is_about_letters(line: str) -> bool:
    """Where it is wrong, and valid names of Chinese patients would keep results from leaving.

    It does not know GBK, judges bytes whose character set the source did not declare (they leave
    as they came), and counts bytes where a Value Representation counts characters (PS3.5 6.2).
    """
    if "Character invalid for character repertoire" in line:
        return True
    return "Length invalid for this VR" in line and not line.isascii()


def _without_values(line: str) -> str:
    match = _ERROR.match(line)
    if match is None:
        return "Error"
    path, message, module = (part or "" for part in match.group("path", "message", "module"))
    return f"{path}{message}{module}".strip(" -")
