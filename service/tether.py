"""Run as ``python tether.py PARENT COMMAND…``: become COMMAND, and die when PARENT dies.

The kernel then kills the process even if the parent had no chance to (``kill -9``). A file of its
own that imports nothing of ours: it runs before each child, and a ``preexec_fn`` is not safe in a
process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2), Linux; the setting survives exec."""


def main(parent: int, command: list[str]) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        sys.exit("the supervisor has gone")
    os.execvp(command[0], command)  # noqa: S606 a shell is what we do not want


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
