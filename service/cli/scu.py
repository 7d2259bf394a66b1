"""``secondread echo`` and ``secondread send``: small SCU tools for the operator."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from service import scu
from service.destination import AeTitle, ClientTls

_STORE_SECONDS = 300.0


def _ae_title(value: str) -> str:
    if not TypeAdapter(AeTitle).validator.isinstance_python(value):
        raise typer.BadParameter("an AE title has 1 to 16 ASCII characters and no backslash")
    return value


Called = Annotated[str, typer.Option("--aet", callback=_ae_title, help="AE title we call.")]
Calling = Annotated[str, typer.Option("--calling", callback=_ae_title, help="Our AE title.")]

TlsCa = Annotated[
    Path | None, typer.Option("--tls-ca", help="Speak TLS and trust these authorities (PEM).")
]
TlsCertificate = Annotated[
    Path | None, typer.Option("--tls-certificate", help="Our certificate (PEM).")
]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", help="Its key (PEM).")]
TlsAnyHostName = Annotated[
    bool, typer.Option("--tls-any-host-name", help="Do not check for which host it was issued.")
]


def _tls(
    ca: Path | None, certificate: Path | None, key: Path | None, any_host_name: bool
) -> ClientTls | None:
    if (key is None) != (certificate is None):
        raise typer.BadParameter("belong together", param_hint="--tls-certificate, --tls-key")
    if ca is None:
        if certificate is not None or any_host_name:
            raise typer.BadParameter("is needed for TLS", param_hint="--tls-ca")
        return None
    return ClientTls(
        ca_file=ca, certificate=certificate, key=key, check_host_name=not any_host_name
    )


def echo(
    host: Annotated[str, typer.Argument(help="Host name or address.")],
    port: Annotated[int, typer.Argument(min=1, max=65535)],
    aet: Called = "SECONDREAD",
    calling: Calling = "ECHOSCU",
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_any_host_name: TlsAnyHostName = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Ask a DICOM peer whether it is there (C-ECHO).

    Exit code 0 if it answers Success, 1 if not.
    """
    tls = _tls(tls_ca, tls_certificate, tls_key, tls_any_host_name)
    peer = scu.Peer(host, port, aet, tls=tls)
    started = time.monotonic()
    status, problem = None, ""
    try:
        status = scu.echo(peer, calling)
    except scu.AssociationFailed as error:
        problem = str(error)
    else:
        if status is None:
            problem = f"{peer} accepted the association and did not answer the C-ECHO"
        elif status != 0:
            problem = f"{peer} answered the C-ECHO with 0x{status:04X}"
    milliseconds = round((time.monotonic() - started) * 1000, 1)
    if as_json:
        told = {"status": status, "problem": problem or None, "milliseconds": milliseconds}
        typer.echo(json.dumps(told))
    elif not problem:
        typer.echo(f"{peer} answers ({milliseconds:.0f} ms)")
    if problem:
        _fail(problem)


def send(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", exists=True, help="DICOM, PNG or JPEG; or folders."),
    ],
    host: Annotated[str, typer.Option(help="Host name or address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 11112,
    aet: Called = "SECONDREAD",
    calling: Calling = "STORESCU",
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_any_host_name: TlsAnyHostName = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a file and line on stdout.")
    ] = False,
) -> None:
    """Send files by C-STORE, each in its own transfer syntax; pictures are wrapped first.

    Exit code 0 if all were stored, 1 if anything was not, 2 for a mistake in the arguments.
    """
    tls = _tls(tls_ca, tls_certificate, tls_key, tls_any_host_name)
    peer = scu.Peer(host, port, aet, dimse_timeout=_STORE_SECONDS, tls=tls)
    files = list(scu.files_below(paths))
    if not files:
        raise typer.BadParameter("no files in there", param_hint="PATH...")
    console = Console(stderr=True)
    outcomes: list[scu.SendOutcome] = []
    problem = ""
    columns = (TextColumn("C-STORE"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(files))

        def on_sent(outcome: scu.SendOutcome) -> None:
            outcomes.append(outcome)
            progress.advance(task)

        try:
            scu.send_files(files, peer, calling, on_sent)
        except scu.AssociationFailed as error:
            problem = str(error)
    if as_json:
        for outcome in outcomes:
            typer.echo(json.dumps(_plain(outcome)))
    elif outcomes:
        Console().print(_table(outcomes))
    if problem:
        _fail(problem)
    missing = sum(not outcome.stored for outcome in outcomes)
    if missing:
        _fail(f"{missing} of {len(outcomes)} files were not stored")


def _plain(outcome: scu.SendOutcome) -> dict[str, object]:
    return {
        "file": str(outcome.path),
        "stored": outcome.stored,
        "status": outcome.status,
        "outcome": outcome.text,
    }


def _table(outcomes: Iterable[scu.SendOutcome]) -> Table:
    table = Table("file", "outcome")
    for outcome in outcomes:
        colour = "green" if outcome.stored else "red"
        table.add_row(escape(outcome.path.name), f"[{colour}]{outcome.text}[/]")
    return table


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
