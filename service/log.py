"""Logging: standard error, one line an event, and never an exception's own text.

What pydicom, SQLAlchemy or a peer put into an exception may hold a patient's data. Therefore a
log line names the exception's class and the line of code, nothing that it says.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

_log = logging.getLogger(__name__)

# These log each PDU, message or connection on INFO, and we log what an operator needs ourselves.
_QUIET = (
    "celery",
    "kombu",
    "alembic",
    "sqlalchemy",
    "PIL",
    "uvicorn",
    "httpx2",
    "opentelemetry",
    "botocore",
    "urllib3",
)
# These quote the value that they warn of, such as a UID that does not conform.
_SILENT = ("pydicom", "pynetdicom", "highdicom")


class _Line(logging.Formatter):
    """``2026-01-31T08:15:30.123Z INFO analysis: message [ValueError at decode.py:88]``."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        error = record.exc_info[1] if record.exc_info else None
        # A library often makes the exception's text its message.
        ours = record.name.startswith("service.") or error is None
        message = " ".join(record.getMessage().split()) if ours else f"{record.name} failed"
        line = f"{time.removesuffix('+00:00')}Z {record.levelname} {self._role}: {message}"
        return f"{line} [{fault(error)}]" if error else line


def set_up_logging(role: str, level: str) -> None:
    """Send everything of this process to standard error.

    role: which process speaks (``ingest``, ``analysis`` …).
    level: threshold of our own loggers; libraries speak from WARNING on.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(role))
    handler.addFilter(_may_be_heard)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    warnings.simplefilter("ignore")
    threading.excepthook = _thread_broke_off
    sys.excepthook = _program_broke_off


def _thread_broke_off(arguments: threading.ExceptHookArgs) -> None:
    name = "a thread" if arguments.thread is None else arguments.thread.name
    _log.error("%s broke off", name, exc_info=arguments.exc_value)


def _program_broke_off(
    _kind: type[BaseException], error: BaseException, _trace: TracebackType | None
) -> None:
    _log.critical("the program broke off", exc_info=error)


def _may_be_heard(record: logging.LogRecord) -> bool:
    """Here and not by levels, because pydicom sets its own again when it is imported later."""
    return record.name.partition(".")[0] not in _SILENT


def fault(error: BaseException) -> str:
    """An exception as it may be logged and kept: ``ValueError at decode.py:88``."""
    frames = traceback.extract_tb(error.__traceback__)
    name = type(error).__name__
    return f"{name} at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else name
