"""What ``secondread up`` runs: which processes, on which ports, in which order they end. Pure."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from service.child import Program
from service.config import Settings
from service.queue.embedded_broker import embedded_broker_command

_WORKER_STOP_SECONDS = 40.0
_OTHER_STOP_SECONDS = 10.0

PORT_KEYS = {
    "ingest": "ingest_port",
    "analysis": "analysis_port",
    "delivery": "delivery_port",
    "keeper": "keeper_port",
    "web": "web_port",
}
"""By process, its key in ``MonitoringSettings``."""

ALONE = {"truth": "truth_port"}
"""The same of what ``secondread up`` does not start: ``secondread truth listen``."""


@dataclass(frozen=True)
class Listener:
    """A port that one of the processes listens on, and the key that configures it."""

    what: str
    key: str
    host: str
    port: int


def listeners(settings: Settings) -> list[Listener]:
    """Every port of the service on this machine."""
    ingest = settings.ingest
    found = [Listener("C-STORE and C-ECHO", "ingest.port", ingest.host, ingest.port)]
    found.append(Listener("web page", "web.port", settings.web.host, settings.web.port))
    if settings.embedded_broker:
        port = settings.broker.embedded_port
        found.append(Listener("embedded broker", "broker.embedded_port", "127.0.0.1", port))
    for process, key in PORT_KEYS.items():
        port = getattr(settings.monitoring, key)
        host = settings.monitoring.host
        found.append(Listener(f"metrics of {process}", f"monitoring.{key}", host, port))
    return found


def health_urls(settings: Settings) -> dict[str, str]:
    """By process, where it says whether it works; the listener for pathology if it has a port."""
    host = settings.monitoring.host
    keys = PORT_KEYS | (ALONE if settings.truth.port else {})
    here = "127.0.0.1" if host in ("", "0.0.0.0") else host  # noqa: S104 asks, does not bind
    return {
        process: f"http://{here}:{getattr(settings.monitoring, key)}/healthz"
        for process, key in keys.items()
    }


def broker_program(settings: Settings) -> Program:
    """The embedded broker. Raises ConfigurationError where it is not to be had."""
    command = embedded_broker_command(settings.data_dir, settings.broker.embedded_port)
    return Program("broker", tuple(command), _OTHER_STOP_SECONDS)


def programs(settings: Settings, config_path: Path | None) -> list[list[Program]]:
    """Our processes in the order in which they end; those of one list end together.

    First nothing new comes in, then the workers finish what they hold, then keeper and web go.
    """
    config = ("--config", str(config_path.resolve())) if config_path else ()

    urls = health_urls(settings)

    def program(name: str, arguments: tuple[str, ...], stop_seconds: float) -> Program:
        return Program(
            name=name,
            command=(sys.executable, "-P", "-m", "service.cli", *arguments, *config),
            stop_seconds=stop_seconds,
            health_url=urls[name],
        )

    drain = settings.ingest.drain_seconds + 5
    return [
        [program("ingest", ("ingest",), drain)],
        [
            program(stage, ("worker", "--queue", stage), _WORKER_STOP_SECONDS)
            for stage in ("analysis", "delivery")
        ],
        [
            program("keeper", ("keeper",), _OTHER_STOP_SECONDS),
            program("web", ("web",), _OTHER_STOP_SECONDS),
        ],
    ]
