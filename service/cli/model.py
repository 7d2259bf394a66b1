"""``secondread model``: look into a model package, and prove that it works here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.analysis.model_package import (
    Manifest,
    ModelPackage,
    ModelPackageError,
    load_model_package,
)
from service.cli import model_store
from service.cli.compare import compare
from service.sections import AnalysisSettings

model_app = typer.Typer(
    help="Model packages: look into one, install it, choose which one is used.",
    no_args_is_help=True,
)
for command in model_store.COMMANDS:
    model_app.command(command.__name__.removesuffix("_"))(command)
model_app.command()(compare)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the model package.")]


@model_app.command()
def show(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="The manifest as JSON.")] = False,
) -> None:
    """Show what the manifest says. Exit code 1 if the folder is not a usable package."""
    manifest = _package(folder).manifest
    if as_json:
        typer.echo(manifest.model_dump_json(indent=2))
    else:
        Console().print(_table(manifest))


@model_app.command()
def verify(
    folder: Folder,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: usable, checks, problem.")
    ] = False,
) -> None:
    """Check the sha256, load the model into ONNX Runtime, and look at what it answers.

    Exit code 0 if all is well, 1 if anything is not.
    """
    from service.analysis.inference import InferenceError
    from service.analysis.verification import verify_model

    checks: list[str] = []
    problem = ""

    def tell(line: str) -> None:
        checks.append(line)
        if not as_json:
            typer.echo(line)

    try:
        package = load_model_package(folder)
        tell(f"sha256 {package.manifest.sha256}: as in the manifest")
        for line in verify_model(package, AnalysisSettings()):
            tell(line)
        tell(f"{package.manifest.name} {package.manifest.version} can be used")
    except (InferenceError, ModelPackageError) as error:
        problem = str(error)
    if as_json:
        told = {"usable": not problem, "checks": checks, "problem": problem or None}
        typer.echo(json.dumps(told, indent=2))
    if problem:
        _fail(problem)


@model_app.command()
def triton(
    folder: Folder,
    repository: Annotated[
        Path, typer.Argument(file_okay=False, help="Model repository of the Triton server.")
    ],
    batch: Annotated[
        int, typer.Option(min=1, max=64, help="Images that Triton scores in one run, at most.")
    ] = 8,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: name, folder, sha256, written.")
    ] = False,
) -> None:
    """Write the model for a Triton Inference Server, named after its digest.

    Other models in the repository stay as they are. Exit code 0 if it is there now, 1 if not.
    """
    from service.analysis.inference import InferenceError
    from service.analysis.triton_repository import write_model

    package = _package(folder)
    try:
        model, written = write_model(package, repository, batch)
    except InferenceError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or repository} cannot be written: {error.strerror}")
    if as_json:
        told = {"name": model.name, "folder": str(model), "sha256": package.manifest.sha256}
        typer.echo(json.dumps(told | {"written": written}, indent=2))
    else:
        typer.echo(f"{'wrote' if written else 'unchanged:'} {model}")


def _package(folder: Path) -> ModelPackage:
    try:
        return load_model_package(folder)
    except ModelPackageError as error:
        _fail(str(error))


_ELSEWHERE = {
    *("name", "version", "preprocessing", "training", "operating_points", "out_of_distribution"),
    *("training_images", "validation_images"),
}


def _operating_points(manifest: Manifest) -> dict[str, str]:
    return {
        f"operating point {point.name}": f"from {point.threshold:g} on: {point.rule}"
        for point in manifest.operating_points
    }


def _gate(manifest: Manifest) -> dict[str, str]:
    gate = manifest.out_of_distribution
    return {} if gate is None else {"out of distribution": f"beyond {gate.limit:g}: {gate.rule}"}


def _table(manifest: Manifest) -> Table:
    table = Table("", "", show_header=False, title=f"{manifest.name} {manifest.version}")
    rows: dict[str, Any] = {
        **manifest.model_dump(mode="json", exclude=_ELSEWHERE),
        **_operating_points(manifest),
        **_gate(manifest),
        "images it has seen": f"{len(manifest.training_images)} in training, "
        f"{len(manifest.validation_images)} in validation",
        **manifest.preprocessing.model_dump(mode="json"),
        **{f"training: {name}": value for name, value in manifest.training.items()},
    }
    for name, value in rows.items():
        table.add_row(name.replace("_", " "), escape(str(value)))
    return table


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)
