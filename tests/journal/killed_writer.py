"""``killed_writer.py ROOT``: writes one result, and is killed in the middle of the next ones.

The kernel does it, with a limit on the size of files: always at the same byte.
"""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

from service.spool import Spool

MEBIBYTE = 1 << 20

if __name__ == "__main__":
    spool = Spool(Path(sys.argv[1]))
    spool.prepare()
    spool.write_results("ab" * 16, [("sr.dcm", b"a" * MEBIBYTE)])
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEBIBYTE * 3 // 2, MEBIBYTE * 3 // 2))
    spool.write_results("ab" * 16, [(sys.argv[2], b"b" * 2 * MEBIBYTE)])
