"""A certificate authority of the tests, made with OpenSSL."""

from __future__ import annotations

import subprocess
from pathlib import Path


def openssl(*arguments: object, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["openssl", *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Authority:
    """A certificate authority, and what it has signed: ``name.pem`` and ``name.key``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.ca = folder / "ca.pem"
        made = openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ca"),
            *("-keyout", folder / "ca.key", "-out", self.ca),
        )
        assert made.returncode == 0, made.stderr

    def sign(self, name: str, host: str = "127.0.0.1") -> tuple[Path, Path]:
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=IP:{host}")
        openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", key, "-out", request),
        )
        signed = openssl(
            *("x509", "-req", "-days", "2", "-CAcreateserial", "-extfile", extensions),
            *("-CA", self.ca, "-CAkey", self.folder / "ca.key"),
            *("-in", request, "-out", certificate),
        )
        assert signed.returncode == 0, signed.stderr
        return certificate, key
