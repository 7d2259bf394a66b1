"""What a command of root makes in the data folder is the service's all the same."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def hand_over(paths: Iterable[Path], data_dir: Path) -> None:
    """Give them to the owner of the data folder, if this process is root's. Raises OSError."""
    if os.geteuid() == 0:
        owner = data_dir.stat()
        for path in paths:
            if path.exists():
                os.chown(path, owner.st_uid, owner.st_gid)
