"""``secondread account``: who may log in on the web page, and tokens for its REST API."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.cli.options import ConfigFile
from service.config import load_settings
from service.web.accounts import SHORTEST_PASSWORD, AccountError, Accounts, Role

account_app = typer.Typer(
    help="Accounts of the web page, and tokens for its REST API.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="Letters, digits and . _ @ -, at most 64.")]
TheRole = Annotated[Role, typer.Option(help="Operators may also replay and withdraw results.")]


@account_app.command()
def add(
    name: Name,
    role: TheRole = Role.VIEWER,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Add an account, or give it this role and a new password. Its sessions end.

    Exit code 0, 1 if it cannot be done, 2 if the configuration cannot be used.
    """
    with _accounts(config) as accounts:
        accounts.set_account(name, role, _password(password_stdin))
    typer.echo(f"{name} may log in as {role}")


@account_app.command()
def token(name: Name, role: TheRole = Role.VIEWER, config: ConfigFile = None) -> None:
    """Make a token for the REST API, in place of any of that name, and print it. It is not kept.

    Send it as ``Authorization: Bearer TOKEN``.
    """
    with _accounts(config) as accounts:
        typer.echo(accounts.make_token(name, role))


@account_app.command()
def remove(name: Name, config: ConfigFile = None) -> None:
    """Remove the account and the token of that name. Exit code 1 if there is none."""
    with _accounts(config) as accounts:
        if not accounts.remove(name):
            raise AccountError("there is no account and no token of that name")
    typer.echo(f"{name} is removed")


@account_app.command("list")
def list_accounts(
    as_json: Annotated[bool, typer.Option("--json", help="A list.")] = False,
    config: ConfigFile = None,
) -> None:
    """List accounts and tokens, without their secrets."""
    with _accounts(config) as accounts:
        rows = [(each.name, each.role.value, "account") for each in accounts.everybody()]
        rows += [(each.name, each.role.value, "token") for each in accounts.tokens()]
    if as_json:
        names = ("name", "role", "kind")
        typer.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
        return
    table = Table("name", "role", "kind")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


@contextmanager
def _accounts(config: Path | None) -> Iterator[Accounts]:
    try:
        yield Accounts(load_settings(config).accounts_file)
    except AccountError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    text = f"Password ({SHORTEST_PASSWORD} characters or more)"
    return str(typer.prompt(text, hide_input=True, confirmation_prompt=True))
