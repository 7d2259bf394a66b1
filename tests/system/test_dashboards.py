"""Every panel's query returns data from a real run that a real Prometheus scrapes."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.health import is_healthy
from service.journal.truth_records import Diagnosis, Source, Subject, Truth
from service.scu import send_files
from tests.conftest import REPOSITORY, ServerProcess, _binary, _free_port, running
from tests.system.conftest import PROCESSES

FOLDER = REPOSITORY / "deploy" / "grafana"
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
SCRAPING = "1s"
WINDOW = "20s"
"""In place of Grafana's ``$__rate_interval``, four scrapes at least."""
BREAST = "breast/uta7_Anonymized3_US000000.dcm"


def panels() -> list[dict[str, Any]]:
    return [panel for path in DASHBOARDS for panel in json.loads(path.read_text())["panels"]]


QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in panels()
    for target in panel["targets"]
]


class Prometheus(ServerProcess):
    """Debian's Prometheus with our scrape configuration, but for its targets and its hurry."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        port = _free_port()
        ours = REPOSITORY / "deploy" / "prometheus"
        configuration = yaml.safe_load((ours / "prometheus.yml").read_text())
        configuration["global"] = {"scrape_interval": SCRAPING, "evaluation_interval": SCRAPING}
        configuration["rule_files"] = [str(ours / "alerts.yml")]
        for target in configuration["scrape_configs"][0]["static_configs"]:
            target["targets"] = [f"127.0.0.1:{ports[target['labels']['process']]}"]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        command = [
            _binary("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        super().__init__(command, port, folder)

    def is_ready(self) -> bool:
        return is_healthy(f"http://127.0.0.1:{self.port}/-/ready")

    def query(self, expression: str) -> list[Any]:
        """The instant vector, now."""
        parameters = urllib.parse.urlencode({"query": expression})
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{parameters}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return list(json.load(answer)["data"]["result"])


@pytest.fixture(scope="module")
def prometheus(
    shared_up, reference_model, shared_orthanc, us_dicom, copy_of, eventually, tmp_path_factory
) -> Iterator[Prometheus]:
    """It has seen a service that took, analysed and delivered some images."""
    service = shared_up(
        reference_model,
        destinations=[shared_orthanc],
        extra=["keeper.drift_seconds = 1", "probe.seconds = 1"],
    )
    service.start()
    eventually(service.is_ready, 120)
    ports = {name: service.ports[name] for name in PROCESSES}
    with running(Prometheus(tmp_path_factory.mktemp("prometheus"), ports)) as server:
        eventually(server.is_ready, 30)
        eventually(lambda: len(server.query('up{job="secondread"} == 1')) == len(PROCESSES), 60)
        # A counter that is there before it rises, and rises while it is looked at.
        for found in (*Diagnosis, *Diagnosis):
            image = copy_of(us_dicom / BREAST)
            send_files([image], service.peer, "SCANNER")
            eventually(lambda: service.is_final(image), 120)  # noqa: B023
            study = service.row(image).study_instance_uid
            told = Truth(Subject.STUDY, study, found, date(2026, 3, 9), Source.SURGERY, "me")
            service.journal.record_truth(told)
        yield server


@pytest.mark.parametrize("expression", QUERIES)
def test_a_panels_query_returns_data(prometheus, eventually, expression: str) -> None:
    query = expression.replace("[$__rate_interval]", f"[{WINDOW}]")
    eventually(lambda: prometheus.query(query), 30)


def test_no_alert_fires_for_a_service_in_good_health(prometheus) -> None:
    assert prometheus.query('ALERTS{alertstate="firing"}') == []


def test_every_panel_says_what_it_shows_in_which_unit() -> None:
    for panel in panels():
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "prometheus"


def test_the_dashboards_are_provisioned() -> None:
    provisioning = FOLDER / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load((provisioning / "dashboards/secondread.yml").read_text())[
        "providers"
    ]
    assert source["uid"] == "prometheus"
    assert provider["type"] == "file"
    assert len({json.loads(path.read_text())["uid"] for path in DASHBOARDS}) == len(DASHBOARDS)
