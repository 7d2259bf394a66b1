"""Redis with Sentinel: the master dies, another takes over, and every image gets its result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from service.journal.records import ImageState
from service.queue.sentinels import Sentinels, sentinels
from service.scu import send_files
from tests.chaos.scanner import make_image
from tests.conftest import ServerProcess, _binary, _free_port, running, wait_until
from tests.system.conftest import Up, make_small_model

NAME = "secondread"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://127.0.0.1:6379/0", None),
        ("sentinel://a/m", Sentinels((("a", 26379),), "m", 0, None)),
        ("sentinel://a:1,b:2/m/3", Sentinels((("a", 1), ("b", 2)), "m", 3, None)),
        ("sentinel://:p%40ss@a:1/m", Sentinels((("a", 1),), "m", 0, "p@ss")),
    ],
)
def test_a_url_names_sentinels_and_what_they_watch(url: str, found: Sentinels | None) -> None:
    assert sentinels(url) == found


@pytest.mark.parametrize(
    "url", ["sentinel://:geheim@/m", "sentinel://:geheim@a:x/m", "sentinel://:geheim@a:1"]
)
def test_one_that_cannot_be_read_is_told_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="sentinel") as told:
        sentinels(url)
    assert "geheim" not in str(told.value)


class Watched:
    """A master, its replica, and three sentinels that agree."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.master = self._server(folder / "master", [])
        stack.enter_context(running(self.master))
        replica = self._server(folder / "replica", ["--replicaof", f"127.0.0.1 {self.master.port}"])
        stack.enter_context(running(replica))
        self.replica = replica
        places = []
        for number in range(3):
            port, own = _free_port(), folder / f"sentinel-{number}"
            own.mkdir()
            configuration = own / "sentinel.conf"
            configuration.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {own}\n"
                f"sentinel monitor {NAME} 127.0.0.1 {self.master.port} 2\n"
                f"sentinel down-after-milliseconds {NAME} 1000\n"
                f"sentinel failover-timeout {NAME} 5000\n"
            )
            command = [_binary("redis-server"), str(configuration), "--sentinel"]
            stack.enter_context(running(ServerProcess(command, port, own)))
            places.append(f"127.0.0.1:{port}")
        self.url = f"sentinel://{','.join(places)}/{NAME}"
        wait_until(self._replicates, 30)
        self._sentinel = Redis(port=port)
        wait_until(self._all_know_each_other, 30)

    @staticmethod
    def _server(folder: Path, more: list[str]) -> ServerProcess:
        folder.mkdir()
        port = _free_port()
        command = [_binary("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
        command += ["--dir", str(folder), "--save", "", *more]
        return ServerProcess(command, port, folder)

    def _replicates(self) -> bool:
        with Redis(port=self.replica.port) as redis:
            return redis.info("replication")["master_link_status"] == "up"

    def _all_know_each_other(self) -> bool:
        state = self._sentinel.sentinel_master(NAME)
        return state["num-other-sentinels"] == 2 and state["num-slaves"] == 1

    def has_failed_over(self) -> bool:
        _, port = self._sentinel.sentinel_get_master_addr_by_name(NAME)
        return int(port) == self.replica.port


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(tmp_path, stack)


def test_every_image_gets_its_result_while_the_master_dies(
    watched: Watched, tmp_path: Path, local_archive: Any, eventually: Any
) -> None:
    for name in ("up", "model", "scanner"):
        (tmp_path / name).mkdir()
    extra = [f'broker.url = "{watched.url}"', "keeper.publish_grace = 3", "keeper.lease = 3"]
    model = make_small_model(tmp_path / "model")
    service = Up(tmp_path / "up", _free_port, model, [local_archive], extra)
    images = [make_image(tmp_path / "scanner", number).path for number in range(30)]
    try:
        service.start()
        eventually(service.is_ready, 60)
        for number, image in enumerate(images):
            if number == 10:
                watched.master.kill()
            (outcome,) = send_files([image], service.peer, "SCANNER")
            assert outcome.stored, "ingest needs no broker"
        eventually(watched.has_failed_over, 30)
        eventually(lambda: service.is_final(*images), 90)
        assert {service.row(image).state for image in images} == {ImageState.DELIVERED}
        assert len(local_archive.files()) == 2 * len(images)
        with Redis(port=watched.replica.port) as redis:
            assert redis.info("clients")["connected_clients"] > 5, "they talk to the new master"
    finally:
        service.process.terminate()
        service.process.wait(60)
        service.journal.close()
