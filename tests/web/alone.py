"""``secondread web`` alone, as it is configured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.conftest import wait_until


class Site:
    """url: of the page. log: what the process says."""

    def __init__(self, folder: Path, port: int, monitoring: int, web: str, scheme: str) -> None:
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.log = folder / "log"
        self._data = folder / "data"
        self._data.mkdir()
        self._monitoring = f"http://127.0.0.1:{monitoring}"
        self.config = folder / "secondread.toml"
        self.config.write_text(
            f'data_dir = "{self._data}"\nmonitoring.web_port = {monitoring}\n'
            f'[web]\nport = {port}\nurl = "{self.url}"\n{web}'
        )
        command = [sys.executable, "-m", "service.cli", "web", "--config", str(self.config)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return requests.get(f"{self._monitoring}/healthz", timeout=2).ok
        except requests.ConnectionError:
            return False

    def add(self, name: str, password: str) -> None:
        """An account."""
        command = [sys.executable, "-m", "service.cli", "account", "add", name, "--password-stdin"]
        subprocess.run(
            [*command, "--config", str(self.config)],
            input=password,
            text=True,
            check=True,
            capture_output=True,
        )

    def audited(self) -> str:
        return "".join(path.read_text() for path in (self._data / "audit").glob("*.jsonl"))


@contextmanager
def serving(
    folder: Path, free_port: Callable[[], int], web: str, scheme: str = "http"
) -> Iterator[Site]:
    """web: lines of TOML under ``[web]``."""
    site = Site(folder, free_port(), free_port(), web, scheme)
    try:
        wait_until(site.answers, 30)
        yield site
    finally:
        site.process.terminate()
        assert site.process.wait(20) == 0
