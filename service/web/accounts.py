"""Local accounts and API tokens: a JSON file that only the service's user can read."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
from contextlib import suppress
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.spool import sync_folder, write_durably

SHORTEST_PASSWORD = 12
_LONGEST_PASSWORD = 256
_AT_ONCE = threading.BoundedSemaphore(2)
"""Argon2 takes 64 MiB for each password that is looked at."""
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"


class Role(StrEnum):
    """A viewer sees; an operator may also replay, report, reanalyse and withdraw."""

    VIEWER = "viewer"
    OPERATOR = "operator"


class AccountError(Exception):
    """The accounts cannot be read or changed so; the text says why."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_NAME)
    role: Role


_Kind = TypeVar("_Kind", bound=_Record)


class Account(_Record):
    """password: its Argon2id hash in PHC form."""

    password: str

    @property
    def stamp(self) -> str:
        """Changes with password and role; a session of an older one is no longer good."""
        return f"{self.role}|{self.password}"


class Token(_Record):
    """sha256: hex digest of an API token, which is 256 random bits."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    accounts: tuple[Account, ...] = ()
    tokens: tuple[Token, ...] = ()


class Accounts:
    """The file's accounts; it is read again when it has changed. Thread-safe.

    Every method raises AccountError if the file is there and cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._file = _File()

    def everybody(self) -> tuple[Account, ...]:
        return self._read().accounts

    def tokens(self) -> tuple[Token, ...]:
        return self._read().tokens

    def find(self, name: str) -> Account | None:
        return next((each for each in self.everybody() if each.name == name), None)

    def verify(self, name: str, password: str) -> Account | None:
        """The account if the password is right; an unknown name takes as long as a wrong one."""
        account = self.find(name)
        phc = account.password if account else _nobodys_hash()
        try:
            with _AT_ONCE:
                _hasher().verify(phc, password[: _LONGEST_PASSWORD + 1])
        except (VerificationError, InvalidHashError):
            return None
        return account

    def holder(self, token: str) -> Token | None:
        """Whose API token it is."""
        digest = _digest(token)
        found = (each for each in self.tokens() if hmac.compare_digest(each.sha256, digest))
        return next(found, None)

    def set_account(self, name: str, role: Role, password: str) -> None:
        """Add an account, or give it this role and password. Raises AccountError."""
        if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            raise AccountError(
                f"a password has {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters"
            )
        if password.lower() == name.lower():
            raise AccountError("the password must not be the name")
        file = self._read()
        account = _checked(Account, name=name, role=role, password=_hasher().hash(password))
        others = tuple(each for each in file.accounts if each.name != name)
        self._write(file.model_copy(update={"accounts": (*others, account)}))

    def make_token(self, name: str, role: Role) -> str:
        """A new API token in place of any of that name; it is nowhere kept. Raises AccountError."""
        file, token = self._read(), secrets.token_urlsafe(32)
        record = _checked(Token, name=name, role=role, sha256=_digest(token))
        others = tuple(each for each in file.tokens if each.name != name)
        self._write(file.model_copy(update={"tokens": (*others, record)}))
        return token

    def remove(self, name: str) -> bool:
        """The account and the token of that name; whether there was any."""
        file = self._read()
        accounts = tuple(each for each in file.accounts if each.name != name)
        tokens = tuple(each for each in file.tokens if each.name != name)
        if (accounts, tokens) == (file.accounts, file.tokens):
            return False
        self._write(_File(accounts=accounts, tokens=tokens))
        return True

    def _read(self) -> _File:
        with self._lock:
            try:
                status = self._path.stat()
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                if stamp != self._seen:
                    self._file = _File.model_validate_json(self._path.read_bytes())
                    self._seen = stamp
            except FileNotFoundError:
                self._file, self._seen = _File(), None
            except OSError as error:
                raise AccountError(f"{self._path} cannot be read: {error.strerror}") from error
            except ValidationError:
                raise AccountError(f"{self._path} is no file of accounts") from None
            return self._file

    def _write(self, file: _File) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            mask = os.umask(0o077)
            try:
                write_durably(self._path, file.model_dump_json(indent=2).encode())
            finally:
                os.umask(mask)
            sync_folder(self._path.parent)
            if os.geteuid() == 0:  # what root writes is the service's all the same
                owner = self._path.parent.stat()
                with suppress(OSError):
                    os.chown(self._path, owner.st_uid, owner.st_gid)
        except OSError as error:
            raise AccountError(f"{self._path} cannot be written: {error.strerror}") from error


def _checked(kind: type[_Kind], **values: object) -> _Kind:
    try:
        return kind.model_validate(values)
    except ValidationError:
        raise AccountError(
            "a name has up to 64 letters, digits and . _ @ -, and begins with a letter or digit"
        ) from None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@cache
def _hasher() -> PasswordHasher:
    """Argon2id with the parameters that RFC 9106 recommends where memory is scarce."""
    return PasswordHasher()


@cache
def _nobodys_hash() -> str:
    return _hasher().hash(secrets.token_urlsafe(32))
