"""The page on other machines' side: by TLS of its own, or behind a proxy that ends it."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.authority import Authority
from tests.web.alone import serving

PASSWORD = "a password for tests"


def cookie_of(answer: requests.Response) -> str:
    return answer.headers["Set-Cookie"]


def test_by_tls(tmp_path: Path, free_port: Callable[[], int]) -> None:
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.sign("web")
    tls = f'tls = {{ certificate = "{certificate}", key = "{key}" }}\n'
    with serving(tmp_path, free_port, tls, "https") as site:
        site.add("ann", PASSWORD)
        session, trusted = requests.Session(), str(authority.ca)
        form = {"name": "ann", "password": PASSWORD}
        answer = session.post(
            f"{site.url}/login", form, allow_redirects=False, timeout=20, verify=trusted
        )
        assert cookie_of(answer).startswith("__Host-secondread=")
        assert "Secure" in cookie_of(answer)
        assert answer.headers["Strict-Transport-Security"]
        assert "Log out" in session.get(site.url, timeout=20, verify=trusted).text
        host, port = site.url.removeprefix("https://").split(":")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with (
            socket.create_connection((host, int(port)), 10) as connection,
            pytest.raises(ssl.SSLError),
        ):
            old.wrap_socket(connection)


def test_behind_a_proxy(tmp_path: Path, free_port: Callable[[], int]) -> None:
    forwarded = {"X-Forwarded-For": "192.0.2.77", "X-Forwarded-Proto": "https"}
    with serving(tmp_path, free_port, 'proxy = "127.0.0.1"\n') as site:
        site.add("ann", PASSWORD)
        form = {"name": "ann", "password": PASSWORD}
        answer = requests.post(
            f"{site.url}/login", form, headers=forwarded, allow_redirects=False, timeout=20
        )
        assert cookie_of(answer).startswith("__Host-secondread=")
        assert "192.0.2.77" in site.audited(), "the person's address, not the proxy's"


def test_who_is_not_the_proxy_is_not_believed(tmp_path: Path, free_port: Callable[[], int]) -> None:
    with serving(tmp_path, free_port, 'proxy = "192.0.2.5"\n') as site:
        site.add("ann", PASSWORD)
        form = {"name": "ann", "password": "wrong wrong wrong"}
        headers = {"X-Forwarded-For": "192.0.2.77"}
        requests.post(f"{site.url}/login", form, headers=headers, timeout=20)
        assert "192.0.2.77" not in site.audited()
        assert "127.0.0.1" in site.audited()


def test_a_certificate_that_is_missing_is_told(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    config = tmp_path / "secondread.toml"
    config.write_text(
        f'data_dir = "{tmp_path}"\nmonitoring.web_port = 0\n[web]\nport = {free_port()}\n'
        'tls = { certificate = "/nowhere/web.pem", key = "/nowhere/web.key" }\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "web", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "TLS cannot use /nowhere/web.pem" in done.stderr
    assert "Traceback" not in done.stderr
