"""Login by an OpenID Connect provider: a real one, and a page before it in a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from oidc_provider_mock import User, run_server_in_thread
from playwright.sync_api import Browser, Page, expect

from tests.conftest import wait_until


class Site:
    """``secondread web`` alone, with a provider."""

    def __init__(self, folder: Path, port: int, monitoring: int, issuer: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.data = folder / "data"
        self.monitoring = f"http://127.0.0.1:{monitoring}"
        secret = folder / "secret"
        secret.write_text("provider-secret\n")
        secret.chmod(0o600)
        self.config = folder / "secondread.toml"
        self.config.write_text(
            f'data_dir = "{self.data}"\n'
            f"monitoring.web_port = {monitoring}\n"
            f'[web]\nport = {port}\nurl = "{self.url}"\n'
            f'[web.oidc]\nname = "the hospital"\nissuer = "{issuer}"\nclient_id = "secondread"\n'
            f'client_secret_file = "{secret}"\n'
            'operators = ["pacs-admins"]\nviewers = ["radiology"]\n'
        )
        self.data.mkdir()
        self._log = (folder / "log").open("wb")
        self.log = folder / "log"
        command = [sys.executable, "-m", "service.cli", "web", "--config", str(self.config)]
        self.process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, env=dict(os.environ)
        )

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.monitoring}/healthz", timeout=2).ok
        except requests.ConnectionError:
            return False

    def audited(self) -> str:
        return "".join(path.read_text() for path in (self.data / "audit").glob("*.jsonl"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Site]:
    users = [
        User(sub="1", claims={"preferred_username": "ann", "groups": ["pacs-admins", "all"]}),
        User(sub="2", claims={"preferred_username": "vic", "groups": ["radiology"]}),
        User(sub="3", claims={"preferred_username": "bob", "groups": ["kitchen"]}),
    ]
    with run_server_in_thread(user_claims=users, require_nonce=True) as provider:
        issuer = f"http://localhost:{provider.server_port}"
        folder = tmp_path_factory.mktemp("web")
        made = Site(folder, free_port(), free_port(), issuer)
        try:
            wait_until(made.answers, 30)
            yield made
        finally:
            made.process.terminate()
            assert made.process.wait(20) == 0


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(locale="en-GB")
    yield context.new_page()
    context.close()


def log_in(page: Page, site: Site, sub: str) -> None:
    page.goto(site.url)
    page.click("text=Log in with the hospital")
    page.click(f"button[name=sub][value='{sub}']")
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize(("sub", "who"), [("1", "ann (operator)"), ("2", "vic (viewer)")])
def test_a_group_gives_the_role(page: Page, site: Site, sub: str, who: str) -> None:
    log_in(page, site, sub)
    expect(page.locator(".who")).to_contain_text(who)
    page.click("text=Log out")
    page.goto(site.url)
    expect(page).to_have_url(re.compile("/login"))


def test_who_is_in_no_group_stays_outside(page: Page, site: Site) -> None:
    log_in(page, site, "3")
    expect(page.get_by_role("alert")).to_have_text("you are in no group that may see this page")
    page.goto(site.url)
    expect(page).to_have_url(re.compile("/login"))
    assert '"UserID":"bob"' in site.audited()


def test_who_denies_is_told_so(page: Page, site: Site) -> None:
    page.goto(site.url)
    page.click("text=Log in with the hospital")
    page.click("text=Deny")
    expect(page.get_by_role("alert")).to_contain_text("the provider did not let you in")


def test_an_answer_that_nobody_asked_for_is_refused(site: Site) -> None:
    """Such as one that another site has prepared, to log somebody in as somebody else."""
    answer = requests.get(
        f"{site.url}/login/oidc/callback", {"code": "x", "state": "y"}, timeout=20
    )
    assert answer.status_code == 403
    assert "secondread=" not in answer.headers.get("Set-Cookie", "")


def test_no_secret_and_no_trace_in_the_log(site: Site) -> None:
    text = site.log.read_text()
    assert "provider-secret" not in text
    assert "Traceback" not in text


def test_without_provider_the_page_says_so(
    tmp_path: Path, free_port: Callable[[], int], browser: Any
) -> None:
    alone = Site(tmp_path, free_port(), free_port(), f"http://localhost:{free_port()}")
    try:
        wait_until(alone.answers, 30)
        answer = requests.get(f"{alone.url}/login/oidc", timeout=30)
        assert answer.status_code == 502
        assert "the provider does not answer as it should" in answer.text
    finally:
        alone.process.terminate()
        alone.process.wait(20)
