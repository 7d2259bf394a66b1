"""``spool_process.py ROOT``: writes images and results until it is killed."""

from __future__ import annotations

import sys
from itertools import cycle
from pathlib import Path

from service.spool import Spool, write_durably

MEBIBYTE = 1 << 20

if __name__ == "__main__":
    spool = Spool(Path(sys.argv[1]))
    spool.prepare()
    for number, byte in enumerate(cycle((b"a", b"b"))):
        spool.write_results("00" * 16, [("sr.dcm", byte * MEBIBYTE), ("sc.dcm", byte * MEBIBYTE)])
        arrived = spool.incoming / f"{number}"
        write_durably(arrived, byte * MEBIBYTE)
        spool.keep_image(f"{number:032x}", arrived)
        print(number, flush=True)
