"""``secondread-model keygen`` and ``sign``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def keygen(
    key: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes.")],
    as_json: AsJson = False,
) -> None:
    """Make a key that signs packages, and print its public key for `analysis.trusted_keys`.

    Keep the private key off the machines that the service runs on.
    """
    from model_export.signing import make_key

    public = make_key(key)
    typer.echo(json.dumps({"public_key": public}) if as_json else public)


def sign(
    package: Annotated[Path, typer.Argument(file_okay=False, help="Folder of a model package.")],
    key: Annotated[Path, typer.Option(help="The private key, as `keygen` makes it.")],
    as_json: AsJson = False,
) -> None:
    """Sign a package as it is: manifest, model and card.

    Sign it last, for any change undoes it.
    """
    from model_export.signing import sign_package
    from service.analysis.signature import SIGNATURE_FILE

    signature = sign_package(package, key)
    if as_json:
        typer.echo(signature.model_dump_json())
    else:
        typer.echo(f"wrote {package / SIGNATURE_FILE}: sha256 {signature.sha256}")
