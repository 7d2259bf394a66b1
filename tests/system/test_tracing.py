"""The trace of an image, as a collector gets it, from association to commitment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.scu import send_files

IMAGE = Path(pydicom.data.__file__).parent / "test_files" / "examples_palette.dcm"


class Collector(ThreadingHTTPServer):
    """What takes OTLP over HTTP: spans by their process."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1/traces"

    def of(self, key: str) -> dict[str, tuple[str, Span]]:
        """By name, the spans of an image with the process that they come from."""
        return {
            span.name: (process, span) for process, span in self.spans if span.trace_id.hex() == key
        }


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        request = ExportTraceServiceRequest.FromString(self.rfile.read(length))
        for group in request.resource_spans:
            names = {each.key: each.value.string_value for each in group.resource.attributes}
            for scope in group.scope_spans:
                self.server.spans += [(names["service.name"], span) for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_process_adds_its_part(
    up: Any, small_model: Path, orthanc: Any, collector: Collector, eventually: Any
) -> None:
    destination = (
        f'host = "127.0.0.1"\nport = {orthanc.port}\nae_title = "ORTHANC"\n'
        "storage_commitment = true"
    )
    extra = [f'tracing.endpoint = "{collector.url}"']
    service = up(small_model, destinations=[destination], extra=extra)
    modality = {"AET": "SECONDREAD", "Host": "127.0.0.1", "Port": service.ports["dicom"]}
    requests.put(f"{orthanc.url}/modalities/secondread", json=modality, timeout=10)
    service.start()
    eventually(service.is_ready, 60)
    send_files([IMAGE], service.peer, "SCANNER")
    eventually(lambda: (row := service.row(IMAGE)) is not None and row.outcome is not None, 60)
    key = service.row(IMAGE).key
    wanted = {
        "association": "secondread-ingest",
        "C-STORE": "secondread-ingest",
        "waited for a worker": "secondread-analysis",
        "analysis": "secondread-analysis",
        "delivery": "secondread-delivery",
        "committed": "secondread-ingest",
    }
    eventually(lambda: collector.of(key).keys() >= wanted.keys(), 60)
    found = collector.of(key)
    assert {name: process for name, (process, _) in found.items() if name in wanted} == wanted
    root = found["association"][1]
    assert root.parent_span_id == b""
    for name, (_, span) in found.items():
        assert span.start_time_unix_nano <= span.end_time_unix_nano, name
        if name != "association":
            assert span.parent_span_id == root.span_id, name
    order = ["C-STORE", "analysis", "committed"]
    ends = [found[name][1].end_time_unix_nano for name in order]
    assert ends == sorted(ends)
    stages = {each.key for each in found["analysis"][1].attributes}
    assert stages >= {"seconds.decode", "seconds.inference", "seconds.report"}


def test_a_collector_that_is_away_stops_nothing(
    up: Any, small_model: Path, free_port: Any, eventually: Any
) -> None:
    extra = [f'tracing.endpoint = "http://127.0.0.1:{free_port()}/v1/traces"']
    service = up(small_model, extra=extra)
    service.start()
    eventually(service.is_ready, 60)
    send_files([IMAGE], service.peer, "SCANNER")
    eventually(lambda: (row := service.row(IMAGE)) is not None and row.outcome is not None, 60)
    service.process.terminate()
    assert service.process.wait(30) == 0
    assert "Traceback" not in service.text()
