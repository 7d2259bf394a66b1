"""The manifests that the chart makes (deploy/kubernetes): valid, tight, and true to the code.

`make deploy-check` renders the chart with helm and finds these very files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.config import Settings, load_settings
from service.programs import ALONE, PORT_KEYS, programs
from tests.conftest import REPOSITORY
from tests.system.commands import parsed_command

FOLDER = REPOSITORY / "deploy" / "kubernetes"
CHART = REPOSITORY / "deploy" / "helm" / "secondread"
FILES = sorted(FOLDER.glob("*.yaml"))
VERSIONS = ("1.29", "1.34")
FOREIGN = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
"""Kinds that Kubernetes does not know by itself: no schema of them is at hand."""


def objects(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


EVERY = [
    pytest.param(each, id=f"{path.stem}-{each['kind']}-{each['metadata']['name']}")
    for path in FILES
    for each in objects(path)
]
WORKLOADS = [parameter for parameter in EVERY if parameter.values[0]["kind"] == "Deployment"]


def of_kind(name: str, kind: str) -> dict[str, dict[str, Any]]:
    """Objects of a rendered file by the end of their names."""
    return {
        each["metadata"]["name"].removeprefix("secondread-"): each
        for each in objects(FOLDER / f"{name}.yaml")
        if each["kind"] == kind
    }


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_each_set_of_values_has_its_manifests() -> None:
    names = {path.name.removesuffix("-values.yaml") for path in (CHART / "ci").iterdir()}
    assert {path.stem for path in FILES} == names == {"cpu", "gpu"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("thing", EVERY)
def test_it_is_valid(thing: dict[str, Any], version: str) -> None:
    assert thing["metadata"]["namespace"] == "secondread"
    if thing["apiVersion"] in FOREIGN:
        assert thing["spec"]
    else:
        kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize(("name", "processes"), [("cpu", PORT_KEYS), ("gpu", PORT_KEYS | ALONE)])
def test_each_process_has_its_pods(name: str, processes: dict[str, str]) -> None:
    assert of_kind(name, "Deployment").keys() == processes.keys()
    assert of_kind(name, "PodDisruptionBudget").keys() == processes.keys()


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_pod_can_do_no_more_than_it_must(workload: dict[str, Any]) -> None:
    pod, only = workload["spec"]["template"]["spec"], container(workload)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"]["runAsUser"] == 10001
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert {"cpu", "memory"} <= only["resources"]["limits"].keys()
    written = {mount["mountPath"] for mount in only["volumeMounts"] if not mount.get("readOnly")}
    assert written - {"/var/lib/secondread/cache"} == {"/var/lib/secondread", "/tmp"}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_it_runs_one_of_our_processes_on_its_ports(
    workload: dict[str, Any], tmp_path: Path
) -> None:
    process = workload["metadata"]["labels"]["app.kubernetes.io/component"]
    settings, only = Settings(data_dir=tmp_path), container(workload)
    by_up = {each.name: each for group in programs(settings, None) for each in group}
    if process in ALONE:
        arguments, stop_seconds = ("truth", "listen"), 5.0
    else:
        arguments, stop_seconds = by_up[process].command[4:], by_up[process].stop_seconds
    assert tuple(only["args"]) == arguments
    assert parsed_command(arguments)
    ports = {port["name"]: port["containerPort"] for port in only["ports"]}
    assert ports.pop("metrics") == getattr(settings.monitoring, (PORT_KEYS | ALONE)[process])
    environment = {each["name"]: each["value"] for each in only["env"]}
    expected = {
        "ingest": {"dicom": settings.ingest.port},
        "web": {"page": settings.web.port},
        "truth": {"hl7": int(environment.get("SECONDREAD_TRUTH__PORT", 0))},
    }
    assert ports == expected.get(process, {})
    grace = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > stop_seconds
    assert only["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    assert only["startupProbe"]["httpGet"]["path"] == "/healthz"


@pytest.mark.parametrize("workload", WORKLOADS)
def test_its_environment_and_its_file_are_a_configuration(
    workload: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in container(workload)["env"]:
        assert "valueFrom" not in variable, "secrets are files"
        monkeypatch.setenv(variable["name"], variable["value"])
    for name, url in (("journal", "postgresql://a:b@c/d"), ("broker", "redis://:b@c:6379/0")):
        path = tmp_path / name
        path.write_text(f"{url}\n")
        monkeypatch.setenv(f"SECONDREAD_{name.upper()}__URL_FILE", str(path))
    file = tmp_path / "secondread.toml"
    file.write_text(of_kind("cpu", "ConfigMap")["config"]["data"]["secondread.toml"])
    settings = load_settings(file)
    assert settings.ingest.peers
    assert settings.destinations
    assert not settings.embedded_broker
    if "web" in workload["metadata"]["name"]:
        assert settings.web.tls is not None


def test_a_gpu_is_asked_for_where_there_is_to_be_one() -> None:
    cpu, gpu = of_kind("cpu", "Deployment")["analysis"], of_kind("gpu", "Deployment")["analysis"]
    assert container(gpu)["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert ":cuda" in container(gpu)["image"]
    assert "nvidia.com/gpu" not in container(cpu)["resources"]["limits"]
    assert ":cpu" in container(cpu)["image"]


def test_analysis_grows_with_the_wait_of_its_oldest_image() -> None:
    scaled = of_kind("gpu", "ScaledObject")["analysis"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == "secondread-analysis"
    assert "replicas" not in of_kind("gpu", "Deployment")["analysis"]["spec"]
    assert of_kind("cpu", "Deployment")["analysis"]["spec"]["replicas"] == 1
    (trigger,) = scaled["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    metrics = (REPOSITORY / "service" / "monitoring" / "metrics.py").read_text()
    for name in re.findall(r"secondread_\w+", query):
        assert f'"{name}"' in metrics, name
    assert 'stage="analysis"' in query


def test_who_is_not_named_reaches_nothing() -> None:
    policies = of_kind("cpu", "NetworkPolicy")
    default = policies["nothing-else"]["spec"]
    assert default["policyTypes"] == ["Ingress", "Egress"]
    instance = "app.kubernetes.io/instance"
    selected = default["podSelector"]["matchLabels"]
    assert "app.kubernetes.io/component" not in selected, "it holds for every pod"
    assert selected[instance] == "secondread"
    for policy in policies.values():
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            assert rule["ports"], "no rule opens every port"
            assert rule.get("from") or rule.get("to"), "no rule is for everybody"
    opened = {
        name: [port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]]
        for name, policy in policies.items()
    }
    assert opened == {
        "nothing-else": ["metrics"],
        "scanners": ["dicom"],
        "browsers": ["page"],
        "pacs": [],
        "probe": [],
    }


def test_pathology_is_heard_from_where_it_is_named() -> None:
    assert "pathology" not in of_kind("cpu", "NetworkPolicy")
    assert "truth" not in of_kind("cpu", "Service")
    (rule,) = of_kind("gpu", "NetworkPolicy")["pathology"]["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == ["hl7"]
    assert rule["from"]
    service = of_kind("gpu", "Service")["truth"]["spec"]
    assert service["externalTrafficPolicy"] == "Local", "it knows senders by their addresses"


def test_data_outlives_the_release_and_is_shared() -> None:
    claim = of_kind("cpu", "PersistentVolumeClaim")["data"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for workload in of_kind("cpu", "Deployment").values():
        volumes = {each["name"]: each for each in workload["spec"]["template"]["spec"]["volumes"]}
        assert volumes["data"]["persistentVolumeClaim"]["claimName"] == "secondread-data"


def test_every_process_reaches_the_bucket_and_copies_onto_its_own_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for workload in of_kind("gpu", "Deployment").values():
        volumes = {each["name"]: each for each in workload["spec"]["template"]["spec"]["volumes"]}
        mounts = {each["name"]: each["mountPath"] for each in container(workload)["volumeMounts"]}
        assert "emptyDir" in volumes["cache"]
        assert mounts["cache"] == f"{mounts['data']}/cache", "data_dir/cache"
        for variable in container(workload)["env"]:
            if variable["name"].startswith("SECONDREAD_SPOOL__"):
                monkeypatch.setenv(variable["name"], variable["value"])
        spool = load_settings().spool
        assert (spool.bucket, str(spool.endpoint)) == ("secondread", "https://s3.example.org/")
        assert str(spool.credentials_file) == f"{mounts['spool']}/credentials"
    for workload in of_kind("cpu", "Deployment").values():
        assert "SPOOL" not in str(workload)


def test_its_alerts_are_ours() -> None:
    ours = (REPOSITORY / "deploy" / "prometheus" / "alerts.yml").read_bytes()
    assert (CHART / "files" / "alerts.yml").read_bytes() == ours
    assert of_kind("gpu", "PrometheusRule")["alerts"]["spec"] == yaml.safe_load(ours)


def test_the_chart_has_the_programs_version() -> None:
    project = re.search(r'^version = "(.*)"', (REPOSITORY / "pyproject.toml").read_text(), re.M)[1]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == project
