"""The spool as the configuration wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.config import ConfigurationError, Settings
from service.monitoring.metrics import Metrics
from service.spool import Spool

if TYPE_CHECKING:
    from service.s3_store import S3Store


def open_spool(settings: Settings, metrics: Metrics | None = None) -> Spool:
    """metrics: count what its store does not do, if it has one.

    Raises ConfigurationError if it cannot be what the configuration wants.
    """
    if not settings.spool.bucket:
        return Spool(settings.spool_dir)
    store = open_store(settings, metrics)
    from service.s3_spool import S3Spool

    return S3Spool(settings.data_dir / "cache", store, settings.spool.cache_bytes)


def open_store(settings: Settings, metrics: Metrics | None = None) -> S3Store:
    """Of ``spool.bucket``. Raises ConfigurationError."""
    try:
        from service.s3_store import S3Store
    except ModuleNotFoundError:
        raise ConfigurationError(
            "spool.bucket: the extra s3 is not installed: pip install 'secondread[s3]'"
        ) from None

    def failed(operation: str) -> None:
        if metrics is not None:
            metrics.store_errors.labels(operation).inc()

    return S3Store(settings.spool, failed)
