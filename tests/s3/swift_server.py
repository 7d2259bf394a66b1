"""Run by Debian's Python as ``swift_server.py FOLDER PORT``: OpenStack Swift with its S3 API.

One process that holds all of it: a proxy on PORT of loopback, and one account, container and object
server behind it. What it has answered lies under FOLDER, fsynced, and survives a ``kill -9``.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import eventlet
import eventlet.wsgi

eventlet.monkey_patch()

from swift.common import utils  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402

# In place of /etc/swift/swift.conf.
utils.HASH_PATH_SUFFIX = b"tests"

BACKEND = """
[DEFAULT]
devices = {folder}/devices
mount_check = false
swift_dir = {folder}
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = """
[DEFAULT]
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors gatekeeper s3api tempauth bulk slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_hospital = a-secret-key .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
"""


class Cache:
    """What memcached is to a Swift of several machines; one process needs no more."""

    def __init__(self) -> None:
        self._values: dict[str, object] = {}

    def get(self, key: str, **_: object) -> object:
        return self._values.get(key)

    def set(self, key: str, value: object, **_: object) -> None:
        self._values[key] = value

    def delete(self, key: str, **_: object) -> None:
        self._values.pop(key, None)


def with_cache(app: Callable[..., object]) -> Callable[..., object]:
    cache = Cache()

    def answer(environ: dict[str, object], start_response: object) -> object:
        return app({**environ, "swift.cache": cache}, start_response)

    return answer


def write_ring(path: Path, port: int) -> None:
    """Of one disk."""
    builder = RingBuilder(part_power=0, replicas=1, min_part_hours=0)
    place = {"ip": "127.0.0.1", "port": port}
    place |= {"replication_ip": "127.0.0.1", "replication_port": port}
    device = {"id": 0, "region": 1, "zone": 1, "device": "disk", "weight": 1.0, "meta": ""}
    builder.add_dev(device | place)
    builder.rebalance()
    builder.get_ring().save(str(path))


def main(folder: Path, port: int) -> None:
    (folder / "devices" / "disk").mkdir(parents=True, exist_ok=True)
    for kind in ("object", "container", "account"):
        listener = eventlet.listen(("127.0.0.1", 0))
        write_ring(folder / f"{kind}.ring.gz", listener.getsockname()[1])
        conf = folder / f"{kind}.conf"
        conf.write_text(BACKEND.format(folder=folder, kind=kind))
        eventlet.spawn(eventlet.wsgi.server, listener, loadapp(str(conf)), log_output=False)
    conf = folder / "proxy.conf"
    conf.write_text(PROXY.format(folder=folder))
    proxy = with_cache(loadapp(str(conf)))
    eventlet.wsgi.server(eventlet.listen(("127.0.0.1", port)), proxy, log_output=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
