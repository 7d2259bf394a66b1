"""Each process answers ``/metrics`` and ``/healthz``."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.monitoring.metrics import Metrics
from service.monitoring.server import MonitoringServer, serve


class Health:
    """What the process says of itself; None while all is well."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __call__(self) -> str | None:
        return self.reason


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def server(metrics: Metrics, health: Health) -> Iterator[MonitoringServer]:
    server = serve(metrics, "127.0.0.1", 0, health)
    yield server
    server.close()


def get(server: MonitoringServer, path: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_are_what_prometheus_reads(metrics: Metrics, server: MonitoringServer) -> None:
    metrics.received.labels("stored").inc(3)
    metrics.images.labels("received").set(2)

    status, body = get(server, "/metrics")

    assert status == 200
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }
    assert samples["secondread_received_total", "stored"] == 3
    assert samples["secondread_images", "received"] == 2


def test_a_scraper_that_asks_for_openmetrics_gets_it(server: MonitoringServer) -> None:
    _, body = get(server, "/metrics", Accept="application/openmetrics-text")
    assert body.endswith("# EOF\n")


def test_health_follows_the_process(server: MonitoringServer, health: Health) -> None:
    assert get(server, "/healthz") == (200, "ok\n")
    health.reason = "the journal does not answer"
    assert get(server, "/healthz") == (503, "the journal does not answer\n")
    health.reason = None
    assert get(server, "/healthz") == (200, "ok\n")


@pytest.mark.parametrize("path", ["/", "/metric", "/metrics/", "/healthz/..", "/favicon.ico"])
def test_there_is_nothing_else(server: MonitoringServer, path: str) -> None:
    assert get(server, path)[0] == 404


def test_a_client_that_says_nothing_blocks_nobody(server: MonitoringServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/healthz")[0] == 200


def test_requests_leave_no_line_in_the_output(
    server: MonitoringServer, capfd: pytest.CaptureFixture[str]
) -> None:
    get(server, "/metrics")
    assert capfd.readouterr() == ("", "")


def test_a_closed_server_has_given_its_port_back(metrics: Metrics, health: Health) -> None:
    first = serve(metrics, "127.0.0.1", 0, health)
    first.close()
    second = serve(metrics, "127.0.0.1", first.port, health)
    assert get(second, "/healthz")[0] == 200
    second.close()


def test_a_taken_port_is_an_error_at_the_start(
    server: MonitoringServer, metrics: Metrics, health: Health
) -> None:
    with pytest.raises(OSError, match="in use"):
        serve(metrics, "127.0.0.1", server.port, health)


def test_a_name_server_that_does_not_answer_delays_nothing(
    metrics: Metrics, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(name: str = "") -> str:
        time.sleep(30)
        return name

    monkeypatch.setattr("socket.getfqdn", slow)
    started = time.monotonic()
    serve(metrics, "127.0.0.1", 0, health).close()
    assert time.monotonic() - started < 5


def test_it_listens_on_ipv6_too(metrics: Metrics, health: Health) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        server = serve(metrics, "::1", 0, health)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with urllib.request.urlopen(f"http://[::1]:{server.port}/healthz", timeout=5) as response:
        assert response.status == 200
    server.close()
