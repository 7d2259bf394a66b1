"""``secondread up | ingest | worker | keeper | web``: the service, whole or in parts."""

from __future__ import annotations

import logging
import os
import resource
import signal
import time
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import ConfigFile
from service.config import Settings, load_settings
from service.log import set_up_logging

if TYPE_CHECKING:
    from service.supervisor import Supervisor

log = logging.getLogger(__name__)

_READY_SECONDS = 120.0


class WorkerQueue(StrEnum):
    """What a worker process takes; who delivers also summarises studies."""

    ANALYSIS = "analysis"
    DELIVERY = "delivery"


def up(config: ConfigFile = None) -> None:
    """Run everything on this machine, its embedded broker included, until Ctrl-C or SIGTERM."""
    from service.supervisor import Supervisor

    settings = process_settings(config, "up")
    supervisor = Supervisor(settings, config)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        supervisor.start()
        _tell(supervisor.settings)
        _tell_when_ready(supervisor)
        supervisor.wait()
    except KeyboardInterrupt:
        typer.echo("stopping; Ctrl-C again kills what still runs")
    finally:
        supervisor.stop()
    typer.echo("stopped")


def ingest(config: ConfigFile = None) -> None:
    """Run the storage SCP: keep each image durably before it is answered."""
    from service.ingest import process
    from service.queue.publisher import Publisher

    settings = process_settings(config, "ingest")
    publisher = Publisher(settings.broker_url)
    process.run(settings, publisher.analysis)
    publisher.close()


def worker(
    queue: Annotated[WorkerQueue, typer.Option(help="Which jobs it takes.")],
    config: ConfigFile = None,
) -> None:
    """Run one worker: it analyses images, or delivers results."""
    settings = process_settings(config, queue.value)
    if queue is WorkerQueue.ANALYSIS:
        from service.analysis import process as analysis

        raise typer.Exit(analysis.run(settings))
    from service.delivery import process as delivery

    raise typer.Exit(delivery.run(settings))


def keeper(config: ConfigFile = None) -> None:
    """Run the keeper: it brings lost jobs back, and measures queues and disk."""
    from service import keeper as process

    raise typer.Exit(process.run(process_settings(config, "keeper")))


def web(config: ConfigFile = None) -> None:
    """Run the web page and the REST API: they show images and results, and take orders."""
    from service.web import process

    raise typer.Exit(process.run(process_settings(config, "web")))


def process_settings(config: Path | None, role: str) -> Settings:
    """The configuration of one of our processes, and what every one of them begins with."""
    settings = load_settings(config)
    set_up_logging(role, settings.log_level)
    # Images, results and journal are for the service's own user.
    os.umask(0o077)
    # A core dump would hold images and secrets.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    for path in settings.exposed_files():
        log.warning("%s can be read by everybody on this machine", path)
    return settings


def _tell(settings: Settings) -> None:
    from service.programs import listeners

    typer.echo(f"SecondRead {version('secondread')}, data in {settings.data_dir.resolve()}")
    for listener in listeners(settings):
        title = f"  (AE title {settings.ingest.ae_title})" if listener.key == "ingest.port" else ""
        typer.echo(f"  {listener.what:<20} {listener.host}:{listener.port}{title}")
    for destination in settings.destinations:
        typer.echo(f"  {'results go to':<20} {destination}")
    if not settings.destinations:
        typer.echo("  results stay here: no [[destinations]] are configured")


def _tell_when_ready(supervisor: Supervisor) -> None:
    """A process that cannot start yet, say because a database is away, is waited for."""
    from service.supervisor import SupervisorError

    started = time.monotonic()
    try:
        supervisor.wait_ready(_READY_SECONDS)
    except SupervisorError as error:
        log.error("%s", error)
    else:
        typer.echo(f"ready after {time.monotonic() - started:.1f} s; Ctrl-C stops it")
