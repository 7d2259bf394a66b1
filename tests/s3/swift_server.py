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

from swift.cli.ringbuilder import main as build_ring  # noqa: E402
from swift.common import utils  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402

utils.HASH_PATH_SUFFIX = b"tests"

KINDS = ("object", "container", "account")
USER, SECRET = "test:hospital", "a-secret-key"

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
user_{account}_{name} = {secret} .admin
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


def make_rings(folder: Path, ports: dict[str, int]) -> None:
    for kind, port in ports.items():
        builder = str(folder / f"{kind}.builder")
        for command in (
            ["create", "0", "1", "0"],
            ["add", f"r1z1-127.0.0.1:{port}/disk", "1"],
            ["rebalance"],
        ):
            try:
                build_ring(["swift-ring-builder", builder, *command])
            except SystemExit as done:
                if done.code not in (0, None):
                    raise


def main(folder: Path, port: int) -> None:
    # A user must be there who may write; nobody becomes another one here.
    (folder / "devices" / "disk").mkdir(parents=True, exist_ok=True)
    listeners = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in KINDS}
    make_rings(folder, {kind: each.getsockname()[1] for kind, each in listeners.items()})
    for kind, listener in listeners.items():
        conf = folder / f"{kind}.conf"
        conf.write_text(BACKEND.format(folder=folder, kind=kind))
        app = loadapp(str(conf))
        eventlet.spawn(eventlet.wsgi.server, listener, app, log_output=False)
    account, name = USER.split(":")
    conf = folder / "proxy.conf"
    conf.write_text(PROXY.format(folder=folder, account=account, name=name, secret=SECRET))
    front = eventlet.listen(("127.0.0.1", port))
    eventlet.wsgi.server(front, with_cache(loadapp(str(conf))), log_output=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
