"""OpenStack Swift as the S3 store, from Debian's packages."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from service.config import Settings
from tests.conftest import ServerProcess, _free_port

_PACKAGE = Path("/usr/lib/python3/dist-packages/swift/proxy/server.py")


class S3Server(ServerProcess):
    """What it has answered survives ``kill()``."""

    access_key, secret_key = "test:hospital", "a-secret-key"

    def __init__(self, folder: Path) -> None:
        if not _PACKAGE.exists():
            pytest.fail("python3-swift is not installed; `make test` installs it")
        port = _free_port()
        script = Path(__file__).with_name("swift_server.py")
        # Debian's Python, which has Debian's Swift; -P, because tests/s3 is no place for modules.
        command = ["/usr/bin/python3", "-P", str(script), str(folder), str(port)]
        super().__init__(command, port, folder)
        self.url = f"http://127.0.0.1:{port}"
        self._numbers = itertools.count(1)

    @property
    def client(self) -> Any:
        """To look at what the service has put there, or to change it."""
        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )

    def written_bytes(self) -> int:
        """By its process until now, to disks and to sockets."""
        lines = Path(f"/proc/{self.pid}/io").read_text().splitlines()
        return int(dict(line.split(": ") for line in lines)["wchar"])

    def make_bucket(self) -> str:
        bucket = f"secondread-{next(self._numbers)}"
        self.client.create_bucket(Bucket=bucket)
        return bucket

    def spool(self, bucket: str, **others: object) -> dict[str, object]:
        """The configuration's section."""
        return {
            "bucket": bucket,
            "endpoint": self.url,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "timeout": 2,
            **others,
        }

    def write_credentials(self, path: Path) -> Path:
        """As ``spool.credentials_file`` wants it."""
        path.write_text(
            f"[default]\naws_access_key_id = {self.access_key}\n"
            f"aws_secret_access_key = {self.secret_key}\n"
        )
        return path

    def settings(self, bucket: str, data_dir: Path, **others: Any) -> Settings:
        spool = self.spool(bucket) | others.pop("spool", {})
        return Settings.model_validate({"data_dir": data_dir, "spool": spool, **others})

    def names(self, bucket: str) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=bucket)
        return [each["Key"] for each in listed.get("Contents", ())]
