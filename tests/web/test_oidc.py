"""Login by an OpenID Connect provider: a real one, and a page before it in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from oidc_provider_mock import User, run_server_in_thread
from playwright.sync_api import Browser, Page, expect

from tests.web.alone import Site, serving


def oidc(folder: Path, issuer: str) -> str:
    """Lines of the configuration."""
    secret = folder / "secret"
    secret.write_text("provider-secret\n")
    secret.chmod(0o600)
    return (
        f'[web.oidc]\nname = "the hospital"\nissuer = "{issuer}"\nclient_id = "secondread"\n'
        f'client_secret_file = "{secret}"\n'
        'operators = ["pacs-admins"]\nviewers = ["radiology"]\n'
    )


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
        with serving(folder, free_port, oidc(folder, issuer)) as made:
            yield made


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


def test_without_provider_the_page_says_so(tmp_path: Path, free_port: Callable[[], int]) -> None:
    nowhere = f"http://localhost:{free_port()}"
    with serving(tmp_path, free_port, oidc(tmp_path, nowhere)) as alone:
        answer = requests.get(f"{alone.url}/login/oidc", timeout=30)
        assert answer.status_code == 502
        assert "the provider does not answer as it should" in answer.text
