"""The spool as the configuration wants it."""

from __future__ import annotations

from service.config import ConfigurationError, Settings
from service.monitoring.metrics import Metrics
from service.spool import Spool


def open_spool(settings: Settings, metrics: Metrics | None = None) -> Spool:
    """metrics: count what its store does not do, if it has one.

    Raises ConfigurationError if it cannot be what the configuration wants.
    """
    if not settings.spool.bucket:
        return Spool(settings.spool_dir)
    try:
        from service.s3_spool import S3Spool
        from service.s3_store import S3Store
    except ModuleNotFoundError:
        raise ConfigurationError(
            "spool.bucket: the extra s3 is not installed: pip install 'secondread[s3]'"
        ) from None

    def failed(operation: str) -> None:
        if metrics is not None:
            metrics.store_errors.labels(operation).inc()

    store = S3Store(settings.spool, failed)
    return S3Spool(settings.data_dir / "cache", store, settings.spool.cache_bytes)
