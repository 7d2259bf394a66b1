"""``secondread-model keygen`` and ``sign``, as a model maker uses them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from model_export.cli.app import app
from service.analysis.signature import SIGNATURE_FILE, package_sha256, require_signature
from service.sections import REFERENCE_MODEL


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return Path(shutil.copytree(REFERENCE_MODEL, tmp_path / "package"))


def test_what_the_key_signs_the_service_trusts(tmp_path: Path, package: Path) -> None:
    key = tmp_path / "key.pem"
    public = json.loads(run("keygen", key, "--json").stdout)["public_key"]
    done = run("sign", package, "--key", key)
    assert done.exit_code == 0
    sha256 = package_sha256(package)
    assert sha256 in done.stdout
    assert require_signature(package, sha256, [public]) == public


def test_a_key_is_not_written_over(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    assert run("keygen", key).exit_code == 0
    before = key.read_bytes()
    assert isinstance(run("keygen", key).exception, FileExistsError)
    assert key.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_key_signs_nothing(tmp_path: Path, package: Path, content: bytes) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(content)
    done = run("sign", package, "--key", key)
    assert isinstance(done.exception, ValueError)
    assert "not an unencrypted private key" in str(done.exception)
    assert not (package / SIGNATURE_FILE).exists()
