"""Accounts, sessions and lock-out, without a server."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from service.web.accounts import AccountError, Accounts, Role
from service.web.lockout import FailedLogins
from service.web.sessions import Sessions

PASSWORD = "a password for tests"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.json"


@pytest.fixture
def accounts(path: Path) -> Accounts:
    return Accounts(path)


class Clock:
    """Seconds that pass when the test wants."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_password_is_kept_as_an_argon2id_hash_alone(accounts: Accounts, path: Path) -> None:
    accounts.set_account("ann", Role.OPERATOR, PASSWORD)
    assert PASSWORD not in path.read_text()
    (account,) = json.loads(path.read_text())["accounts"]
    assert account["password"].startswith("$argon2id$")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert accounts.verify("ann", PASSWORD) is not None
    assert accounts.verify("ann", PASSWORD + "x") is None
    assert accounts.verify("bob", PASSWORD) is None


def test_a_change_by_another_process_holds_at_once(accounts: Accounts, path: Path) -> None:
    accounts.set_account("ann", Role.VIEWER, PASSWORD)
    assert accounts.find("ann").role is Role.VIEWER
    Accounts(path).set_account("ann", Role.OPERATOR, PASSWORD)
    assert accounts.find("ann").role is Role.OPERATOR
    Accounts(path).remove("ann")
    assert accounts.find("ann") is None


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", "too short"),
        ("ann", "x" * 257),
        ("anns-own-account", "anns-own-ACCOUNT"),
        ("", PASSWORD),
        ("ann smith", PASSWORD),
        ("../ann", PASSWORD),
    ],
)
def test_what_is_not_taken(accounts: Accounts, path: Path, name: str, password: str) -> None:
    with pytest.raises(AccountError):
        accounts.set_account(name, Role.VIEWER, password)
    assert not path.exists()


def test_a_token_is_shown_once_and_its_digest_kept(accounts: Accounts, path: Path) -> None:
    token = accounts.make_token("export", Role.VIEWER)
    assert token not in path.read_text()
    assert accounts.holder(token).name == "export"
    assert accounts.holder(token + "x") is None
    newer = accounts.make_token("export", Role.VIEWER)
    assert accounts.holder(token) is None
    assert accounts.remove("export")
    assert accounts.holder(newer) is None
    assert not accounts.remove("export")


def test_a_broken_file_lets_nobody_in_and_is_told(accounts: Accounts, path: Path) -> None:
    path.write_text('{"accounts": [{"name": "ann", "role": "admin", "password": "secret"}]}')
    with pytest.raises(AccountError, match="no file of accounts") as told:
        accounts.everybody()
    assert "secret" not in str(told.value)


def test_a_session_ends_when_nobody_does_anything(clock: Clock) -> None:
    sessions = Sessions(idle=60, longest=600, clock=clock)
    identifier = sessions.begin("ann", Role.VIEWER, None).identifier
    clock.now += 50
    assert sessions.find(identifier, active=False) is not None
    clock.now += 20
    assert sessions.find(identifier, active=True) is None, "a page that refreshes itself is nobody"


def test_and_after_its_longest_time_in_any_case(clock: Clock) -> None:
    sessions = Sessions(idle=60, longest=600, clock=clock)
    identifier = sessions.begin("ann", Role.VIEWER, None).identifier
    for _ in range(11):
        clock.now += 50
        assert sessions.find(identifier, active=True) is not None
    clock.now += 50
    assert sessions.find(identifier, active=True) is None


def test_each_login_has_a_session_of_its_own(clock: Clock) -> None:
    sessions = Sessions(idle=60, longest=600, clock=clock)
    first, second = (sessions.begin("ann", Role.VIEWER, None) for _ in range(2))
    assert first.identifier != second.identifier
    assert first.csrf != second.csrf
    sessions.end(first.identifier)
    assert sessions.find(first.identifier, active=True) is None
    assert sessions.find(second.identifier, active=True) is second


def tried(failed: FailedLogins, name: str, address: str, times: int) -> None:
    for _ in range(times):
        failed.failed(name, address)


def test_a_name_is_locked_from_where_it_was_guessed_at(clock: Clock) -> None:
    failed = FailedLogins(failures=5, seconds=900, clock=clock)
    tried(failed, "ann", "192.0.2.1", 4)
    assert not failed.is_locked("ann", "192.0.2.1")
    tried(failed, "ann", "192.0.2.1", 1)
    assert failed.is_locked("ann", "192.0.2.1")
    assert not failed.is_locked("ann", "192.0.2.2"), "she herself gets in elsewhere"
    assert not failed.is_locked("bob", "192.0.2.1")
    clock.now += 901
    assert not failed.is_locked("ann", "192.0.2.1")


def test_many_names_lock_an_address_and_many_addresses_a_name(clock: Clock) -> None:
    failed = FailedLogins(failures=5, seconds=900, clock=clock)
    for number in range(50):
        failed.failed(f"name-{number}", "192.0.2.1")
    assert failed.is_locked("ann", "192.0.2.1")
    for number in range(50):
        failed.failed("bob", f"192.0.2.{number + 10}")
    assert failed.is_locked("bob", "192.0.2.200")
    assert not failed.is_locked("eve", "192.0.2.200")


def test_a_right_password_forgives_the_wrong_ones(clock: Clock) -> None:
    failed = FailedLogins(failures=5, seconds=900, clock=clock)
    tried(failed, "ann", "192.0.2.1", 4)
    failed.succeeded("ann", "192.0.2.1")
    tried(failed, "ann", "192.0.2.1", 4)
    assert not failed.is_locked("ann", "192.0.2.1")
