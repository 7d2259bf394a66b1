"""The trace of an image, from association to commitment, by OpenTelemetry (the extra ``trace``).

An image's key is the identifier of its trace: both have 128 bits. So each process adds its spans
without anything being handed on in messages.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

from service.config import ConfigurationError, Settings

_NANOSECONDS = 1_000_000_000
_FLUSH_MILLISECONDS = 3000

Attribute = str | int | float | bool


class Tracer:
    """Does nothing, for there is no collector. Of a patient nothing may stand in attributes."""

    def root(self, key: str, name: str, began: float, attributes: Mapping[str, Attribute]) -> None:
        """The span that all others of an image lie under.

        key: the image's. began: seconds since 1970; it ends now.
        """

    def span(
        self,
        key: str | None,
        name: str,
        began: float,
        attributes: Mapping[str, Attribute],
        *,
        good: bool = True,
    ) -> None:
        """Something that was done for an image and ends now.

        key: the image's; None where it is of none, as the delivery of a study's summary.
        """

    def close(self) -> None:
        """Send what waits."""


NO_TRACER = Tracer()


def open_tracer(settings: Settings, process: str) -> Tracer:
    """For this process. Raises ConfigurationError if tracing is wanted and not installed."""
    if settings.tracing.endpoint is None:
        return NO_TRACER
    try:
        return _OpenTelemetry(str(settings.tracing.endpoint), process)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"tracing.endpoint: {error.name} is not installed: pip install 'secondread[trace]'"
        ) from error


class _OpenTelemetry(Tracer):
    """Spans are made when they are over, so that nothing is held while work is done."""

    def __init__(self, endpoint: str, process: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, TraceFlags
        from opentelemetry.trace.status import Status, StatusCode

        resource = Resource.create({"service.name": f"secondread-{process}"})
        scope = InstrumentationScope("secondread")
        processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint))
        sampled = TraceFlags(TraceFlags.SAMPLED)

        def end(
            key: str,
            identifier: int,
            name: str,
            began: float,
            good: bool,
            attributes: Mapping[str, Attribute],
        ) -> None:
            trace, root = int(key, 16), _root_of(key)
            context = SpanContext(trace, identifier, is_remote=False, trace_flags=sampled)
            parent = SpanContext(trace, root, is_remote=True, trace_flags=sampled)
            now = time.time()
            processor.on_end(
                ReadableSpan(
                    name,
                    context,
                    parent=None if identifier == root else parent,
                    resource=resource,
                    instrumentation_scope=scope,
                    attributes=attributes,
                    status=Status(StatusCode.OK if good else StatusCode.ERROR),
                    start_time=int(min(began, now) * _NANOSECONDS),
                    end_time=int(now * _NANOSECONDS),
                )
            )

        self._end = end
        self._processor = processor

    def root(self, key: str, name: str, began: float, attributes: Mapping[str, Attribute]) -> None:
        self._end(key, _root_of(key), name, began, True, attributes)

    def span(
        self,
        key: str | None,
        name: str,
        began: float,
        attributes: Mapping[str, Attribute],
        *,
        good: bool = True,
    ) -> None:
        if key is not None:
            self._end(key, secrets.randbits(64) or 1, name, began, good, attributes)

    def close(self) -> None:
        self._processor.force_flush(_FLUSH_MILLISECONDS)
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def _root_of(key: str) -> int:
    """The identifier of its root span, which is never 0."""
    return int(key[:16], 16) or 1
