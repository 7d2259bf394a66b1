"""As in a container: no root, no capabilities, nothing to write to but the data folder and /tmp."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from service.scu import send_files
from tests.chaos.scanner import make_image

SECONDS = 90
USER = 10001
"""That of the Dockerfile."""

PROGRAM = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /tmp
case {base} in /root/*)  # where nobody else may look: show the interpreter alone
    mkdir /tmp/python
    mount --bind {base} /tmp/python
    mount -t tmpfs -o mode=755 tmpfs /root
    mkdir -p {base}
    mount --bind /tmp/python {base}
esac
mkdir -p "$DATA"
mount -t tmpfs tmpfs "$DATA"
cp "$CONFIG" "$DATA/secondread.toml"
chown -R {user}:{user} "$DATA"
chmod 1777 /tmp
mount -o remount,ro,bind / 2>/dev/null || mount -o remount,ro /
for other in $(awk '$2 ~ "^/(dev/shm|run|var|home|root|opt|usr)" {{print $2}}' /proc/mounts); do
    [ "$other" = "$DATA" ] || mount -o remount,ro,bind "$other" 2>/dev/null || true
done
if touch /probe 2>/dev/null; then echo "the root is writable"; exit 99; fi
exec setpriv --reuid {user} --regid {user} --clear-groups \\
    --no-new-privs --inh-caps=-all --bounding-set=-all \\
    {python} -m service.cli up --config "$DATA/secondread.toml"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system is made read-only by root alone")
def test_the_service_writes_to_its_data_and_nowhere_else(
    up, small_model, eventually, local_archive, tmp_path_factory
) -> None:
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no mount namespace may be made here")
    place = Path(tempfile.mkdtemp(prefix="secondread-read-only-", dir="/var/tmp"))
    service = up(small_model, destinations=[local_archive])
    config = place / "secondread.toml"
    data = place / "data"
    data.mkdir()
    text = service.config.read_text().replace(str(service.data_dir), str(data / "spool"))
    model = place / "model"
    subprocess.run(["cp", "-r", str(small_model), str(model)], check=True)
    subprocess.run(["chmod", "-R", "a+rX", str(model)], check=True)
    config.write_text(text.replace(str(small_model), str(model)))
    place.chmod(0o755)
    program = PROGRAM.format(python=sys.executable, base=sys.base_prefix, user=USER)
    with service.output.open("wb") as output:
        service.process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", program],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DATA": str(data), "CONFIG": str(config), "HOME": "/nonexistent"},
            cwd="/",
            umask=0o022,
        )
    try:
        eventually(service.is_ready, SECONDS)
        image = make_image(tmp_path_factory.mktemp("scanner"), 1)
        (outcome,) = send_files([image.path], service.peer, "SCANNER")
        assert outcome.stored, outcome.text
        eventually(lambda: len(local_archive.files()) == 2, SECONDS)
        user = Path(f"/proc/{service.children()['ingest']}/status").read_text()
        assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in user
        assert "CapEff:\t0000000000000000" in user
    finally:
        service.process.terminate()
        service.process.wait(60)
        subprocess.run(["rm", "-rf", str(place)], check=False)
