"""The container files say what the code does."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import yaml

from service.config import Settings, load_settings
from service.programs import ALONE, PORT_KEYS
from tests.conftest import _binary
from tests.system.commands import parsed_command

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())
OURS = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service["image"].startswith("secondread:")
}
PROCESS = {
    "ingest": "ingest",
    "analysis": "analysis",
    "analysis-gpu": "analysis",
    "delivery": "delivery",
    "keeper": "keeper",
    "web": "web",
    "truth": "truth",
}
HL7_PORT = 2575


def dockerfile_environment() -> dict[str, str]:
    return dict(re.findall(r"^(?:ENV|   ) +(\w+)=(\S+)", DOCKERFILE, re.MULTILINE))


def ports_of(process: str) -> set[int]:
    """Those that the process listens on by default."""
    settings = Settings()
    metrics = getattr(settings.monitoring, (PORT_KEYS | ALONE)[process])
    served = {
        "ingest": {settings.ingest.port},
        "web": {settings.web.port},
        "truth": {HL7_PORT},
    }
    return {metrics} | served.get(process, set())


def stages() -> dict[str, str]:
    """The Dockerfile's stages by name."""
    return {
        re.search(r"AS (\w+)", stage)[1]: stage
        for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    }


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("SECONDREAD_"):
            monkeypatch.delenv(name)


def test_each_process_has_its_container() -> None:
    assert OURS.keys() == PROCESS.keys()
    assert set(PROCESS.values()) == PORT_KEYS.keys() | ALONE.keys()
    assert OURS["truth"]["profiles"] == ["truth"], "it is off by default"
    environment = OURS["truth"]["environment"]
    assert environment["SECONDREAD_TRUTH__PORT"] == str(HL7_PORT)


@pytest.mark.parametrize("name", OURS)
def test_its_command_is_one_of_ours(name: str) -> None:
    command, *arguments = shlex.split(OURS[name]["command"])
    parsed = parsed_command([command, *arguments])
    process = PROCESS[name]
    assert command == ("worker" if process in ("analysis", "delivery") else process)
    if command == "worker":
        assert parsed.params["queue"].value == process


@pytest.mark.parametrize("name", OURS)
def test_its_ports_are_the_configured_ones(name: str) -> None:
    published = {int(port.rpartition(":")[2]) for port in OURS[name]["ports"]}
    assert published == ports_of(PROCESS[name])


@pytest.mark.parametrize("name", OURS)
def test_its_environment_is_a_configuration(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variables = dockerfile_environment() | OURS[name]["environment"]
    ours = {key: value for key, value in variables.items() if key.startswith("SECONDREAD_")}
    assert ours.pop("SECONDREAD_CONFIG") == "/etc/secondread/secondread.toml"
    for key, value in ours.items():
        section: type = Settings
        for part in key.removeprefix("SECONDREAD_").lower().split("__"):
            assert part in section.model_fields, f"{key} is no key of the configuration"
            annotation = section.model_fields[part].annotation
            section = next(iter(get_args(annotation)), annotation)
        monkeypatch.setenv(key, re.sub(r"\$\{(\w+)[^}]*\}", _given, value))
    settings = load_settings(REPOSITORY / "deploy" / "secondread.example.toml")
    assert settings.broker_url == "redis://broker:6379/0"
    assert settings.journal_url == "postgresql+psycopg://secondread:secret@journal/secondread"
    assert settings.ingest.host == "0.0.0.0"
    assert settings.ingest.peers, "the delivery worker reports commitments by them"
    assert settings.data_dir == Path("/var/lib/secondread")
    configuration, data, *files = [volume.split(":", 1)[1] for volume in OURS[name]["volumes"]]
    assert configuration == "/etc/secondread/secondread.toml:ro"
    assert data == str(settings.data_dir)
    assert files == (["/etc/secondread/tls:ro"] if name == "web" else [])
    if name == "web":
        assert settings.web.tls.key == Path("/etc/secondread/tls/web.key")


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_no_container_can_do_more_than_it_must(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "/tmp" in service["tmpfs"]
    assert not service.get("privileged")
    assert "cap_add" not in service


def test_no_container_is_run_by_root() -> None:
    for name, service in COMPOSE["services"].items():
        # Of our own images the Dockerfile says who.
        user = service.get("user", "10001" if name in OURS else "root")
        assert user.partition(":")[0] not in ("0", "root", ""), name
    for target in ("cpu", "cuda"):
        assert re.search(r"^USER (?!0|root)\d+:\d+$", stages()[target], re.MULTILINE)


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_metrics_are_published_on_loopback_alone(name: str) -> None:
    for_all = (f":{Settings().ingest.port}", f":{Settings().web.port}", f":{HL7_PORT}")
    for port in COMPOSE["services"][name].get("ports", []):
        assert port.startswith("127.0.0.1:") or port.endswith(for_all), port


def _given(variable: re.Match[str]) -> str:
    """What the operator exports."""
    peers = '[{"ae_title": "US_ROOM1", "address": "192.0.2.21"}]'
    return peers if variable[1] == "SECONDREAD_PEERS" else "secret"


def test_the_servers_that_it_names_are_there() -> None:
    assert {"broker", "journal"} <= COMPOSE["services"].keys()
    for service in OURS.values():
        assert service["depends_on"].keys() == {"broker", "journal"}


def test_the_example_configuration_can_be_used() -> None:
    settings = load_settings(REPOSITORY / "deploy" / "secondread.example.toml")
    (pacs,) = settings.destinations
    assert (pacs.name, pacs.port) == ("pacs", 104)
    assert settings.ingest.port in ports_of("ingest")


def test_the_image_has_both_targets_and_what_compose_asks_for() -> None:
    assert {"cpu", "cuda"} <= stages().keys()
    assert {service["build"]["target"] for service in OURS.values()} == {"cpu", "cuda"}
    for target in ("cpu", "cuda"):
        exposed = re.search(r"^EXPOSE (.*)$", stages()[target], re.MULTILINE)[1]
        assert set(map(int, exposed.split())) == set.union(*map(ports_of, PORT_KEYS | ALONE))
        assert 'ENTRYPOINT ["secondread"]' in stages()[target]


def test_what_the_image_copies_is_there_and_let_through() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    let_through = {entry.removeprefix("!") for entry in ignored if entry.startswith("!")}
    copied = [
        source
        for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert "model_export" in copied
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    carried = project["tool"]["setuptools"]["package-data"]["model_export"]
    assert "reference/*" in carried, "the installed package would lack the reference model"
    for source in copied:
        assert (REPOSITORY / source).exists(), f"{source} is not in the repository"
        assert source.partition("/")[0] in let_through, f"{source} is kept out by .dockerignore"


def test_the_image_installs_no_torch() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    installed = set(project["dependencies"])
    wanted_extras = {
        "cpu": {"cpu", "postgres", "s3", "triton"},
        "cuda": {"gpu", "postgres", "s3"},
    }
    for target, wanted in wanted_extras.items():
        (extras,) = re.findall(r"pip install '/src\[([\w,]+)\]'", stages()[target])
        assert set(extras.split(",")) == wanted
        for extra in wanted:
            installed |= set(project["optional-dependencies"][extra])
    assert not [requirement for requirement in installed if "torch" in requirement]
    assert "torch" not in re.sub(r"^#.*$", "", DOCKERFILE, flags=re.MULTILINE)


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_no_image_changes_by_itself(name: str) -> None:
    _, _, tag = COMPOSE["services"][name]["image"].partition(":")
    assert tag not in ("", "latest")


def test_hadolint_finds_nothing_and_the_base_is_pinned() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, REPOSITORY / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    bases = set(re.findall(r"^FROM ([\w.]+:\S+)", DOCKERFILE, re.MULTILINE))
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases.pop())


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_an_image_asks_its_process_whether_it_works(target: str) -> None:
    (command,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", stages()[target], re.MULTILINE)
    program, *arguments = json.loads(command)
    assert (program, arguments) == ("python", ["-m", "service.healthcheck"])
    assert importlib.util.find_spec(arguments[1]) is not None


def test_the_images_pg_dump_is_as_new_as_the_journals_server() -> None:
    (version,) = re.findall(r"postgresql-client-(\d+)", DOCKERFILE)
    assert COMPOSE["services"]["journal"]["image"] == f"postgres:{version}"


def test_prometheus_scrapes_each_container() -> None:
    mounted, _ = COMPOSE["services"]["prometheus"]["volumes"]
    assert mounted == "./prometheus:/etc/prometheus:ro"
    command = shlex.split(COMPOSE["services"]["prometheus"]["command"])
    (path,) = [word.partition("=")[2] for word in command if word.startswith("--config.file")]
    file = REPOSITORY / "deploy" / "prometheus" / Path(path).name
    subprocess.run([_binary("promtool"), "check", "config", file], check=True, capture_output=True)
    configuration = yaml.safe_load(file.read_text())
    (job,) = configuration["scrape_configs"]
    found = {each["labels"]["process"]: each["targets"] for each in job["static_configs"]}
    alone = yaml.safe_load((file.parent / "prometheus.yml").read_text())
    assert configuration["rule_files"] == alone["rule_files"]
    settings = Settings()
    assert found == {
        process: [f"{process}:{getattr(settings.monitoring, key)}"]
        for process, key in PORT_KEYS.items()
    }
    known = set(COMPOSE["services"])
    aliases = OURS["analysis-gpu"]["networks"]["default"]["aliases"]
    assert set(found) <= known
    assert aliases == ["analysis"], "whichever profile runs, its name is the same"


@pytest.mark.parametrize("name", ["compose.yml", "prometheus.yml"])
def test_what_prometheus_shall_do_where_pathology_is_heard_stands_there(name: str) -> None:
    text = (REPOSITORY / "deploy" / "prometheus" / name).read_text()
    switched_on = re.sub(r"^( *)# (- targets|  labels)", r"\1\2", text, flags=re.MULTILINE)
    (job,) = yaml.safe_load(switched_on)["scrape_configs"]
    *_, last = job["static_configs"]
    host = "truth" if name == "compose.yml" else "127.0.0.1"
    assert last == {
        "targets": [f"{host}:{Settings().monitoring.truth_port}"],
        "labels": {"process": "truth"},
    }


def test_grafana_finds_our_dashboards_and_prometheus() -> None:
    grafana, folder = COMPOSE["services"]["grafana"], REPOSITORY / "deploy"
    mounts = dict(volume.removesuffix(":ro").split(":") for volume in grafana["volumes"])
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    provider = folder / "grafana" / "provisioning" / "dashboards" / "secondread.yml"
    (only,) = yaml.safe_load(provider.read_text())["providers"]
    assert mounts["./grafana/dashboards"] == only["options"]["path"]
    assert (folder / "grafana" / "dashboards" / "secondread.json").is_file()
    port = COMPOSE["services"]["prometheus"]["ports"][0].rpartition(":")[2]
    assert grafana["environment"]["PROMETHEUS_URL"] == f"http://prometheus:{port}"
    assert "?" in grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD"], "there is no default"


def test_a_trials_pacs_is_the_one_that_its_configuration_names() -> None:
    orthanc = COMPOSE["services"]["orthanc"]
    assert orthanc["profiles"] == ["trial"]
    assert "volumes" not in orthanc, "it forgets what it was given"
    settings = load_settings(REPOSITORY / "deploy" / "secondread.trial.toml")
    (pacs,) = settings.destinations
    environment = orthanc["environment"]
    assert pacs.host == "orthanc"
    assert pacs.ae_title == environment["ORTHANC__DICOM_AET"]
    assert str(pacs.port) == environment["ORTHANC__DICOM_PORT"]
    assert all(port.startswith("127.0.0.1:") for port in orthanc["ports"])
