"""``secondread model``: what is in the model store, and which model is used for what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import ConfigFile, login
from service.config import ConfigurationError, Settings, load_settings

if TYPE_CHECKING:
    from service.analysis.model_package import ModelPackage
    from service.analysis.model_store import Installed, ModelStore, State

ModelName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="name@version, or the first digits of its sha256."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, with problem if it failed.")]


def install(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the model package.")],
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Prove a package, as `model verify` does, and copy it into the model store; no image gets it
    before it is activated.

    Exit code 0, 1 if it is refused, 2 if the configuration cannot be used.
    """
    from service.analysis.verification import verify_model

    with _store(config, as_json) as (store, settings):
        checks: list[str] = []

        def check(package: ModelPackage) -> None:
            for line in verify_model(package, settings.analysis):
                checks.append(line)
                if not as_json:
                    typer.echo(line)

        installed = store.install(folder, check)
        signer = f"signed by {installed.signed_by}"
        if as_json:
            typer.echo(json.dumps({**_told(installed), "checks": checks}))
        else:
            typer.echo(signer if installed.signed_by else "unsigned")
            typer.echo(f"installed {installed.name}, sha256 {installed.sha256}")


def list_(as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Show which models are installed, and which one is used for what."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    with _store(config, as_json) as (store, settings):
        state, installed = store.state(), store.installed()
        if as_json:
            told = {**_told_state(state), "installed": [_told(each) for each in installed]}
            typer.echo(json.dumps({**told, "problem": None}))
            return
        table = Table("model", "sha256", "signed by", "used as", title_justify="left")
        for each in installed:
            signer = escape(each.problem or each.signed_by or "nobody")
            table.add_row(each.name, each.sha256[:12], signer, ", ".join(_uses(state, each)))
        Console().print(table)
        if state.active is None:
            typer.echo(f"active is analysis.model: {settings.analysis.model}")


def activate(name: ModelName, as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Use an installed model for new studies, without a restart; a study that has begun goes on
    with the model that began it.

    Exit code 0, 1 if it is refused, 2 if the configuration cannot be used.
    """
    with _store(config, as_json) as (store, settings):
        model = store.find(name)
        state = store.activate(model.sha256)
        _end(settings, state, f"activated {model.name} {model.sha256}", as_json)


def rollback(as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Use the model again that was active before; once more, and it is undone.

    Exit code 0, 1 if there is none, 2 if the configuration cannot be used.
    """
    with _store(config, as_json) as (store, settings):
        before = store.state().activated_at
        state = store.rollback()
        what = state.active or "analysis.model"
        _end(settings, state, f"rolled back to {what}", as_json)
        if not as_json and before is not None:
            typer.echo("to replace what the other model has said since it was activated:")
            typer.echo(f"  secondread reanalyse --since {before:%Y-%m-%dT%H:%M:%S%z}")


def canary(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="name@version, or the first digits of its sha256."),
    ] = None,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Of the new studies, 0–1, whoever sends them.")
    ] = 0,
    scanners: Annotated[
        list[str] | None,
        typer.Option(
            "--scanner", metavar="AET", help="Calling AE title; all new studies of it. Repeatable."
        ),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="End it: new studies get the active.")] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Give some new studies another model than the active one: a share of them, or those of
    scanners. It replaces the canary before it.

    Exit code 0, 1 if it is refused, 2 if the command or the configuration cannot be used.
    """
    if off == bool(name or share or scanners) or (not off and not (name and (share or scanners))):
        raise typer.BadParameter("give NAME with --share or --scanner, or --off alone")
    with _store(config, as_json) as (store, settings):
        if name is None:
            _end(settings, store.end_canary(), "canary ended", as_json)
            return
        model = store.find(name)
        state = store.begin_canary(model.sha256, share, scanners or [])
        who = [*([f"{share:g} of all studies"] if share else []), *(scanners or [])]
        done = f"canary {model.name} {model.sha256} for {', '.join(who)}"
        _end(settings, state, done, as_json)


def remove(name: ModelName, as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Remove a model that is used for nothing, and that no image waits for, from the store.

    Keep it while late images of studies that it began may come. Exit code 0, 1 if it is refused, 2
    if configuration or journal cannot be used.
    """
    from service.journal.journal import Journal

    with _store(config, as_json) as (store, settings):
        model = store.find(name)
        with closing(Journal(settings.journal_url)) as journal:
            journal.check()
            store.remove(model.sha256, journal.awaited_models())
        if as_json:
            typer.echo(json.dumps({**_told(model), "problem": None}))
        else:
            typer.echo(f"removed {model.name}, sha256 {model.sha256}")


def shadow(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="name@version, or the first digits of its sha256."),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="No model scores silently any more.")] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Let an installed model score new images silently, when nothing else is to be done; nobody is
    told what it says but by `model compare`.

    Exit code 0, 1 if it is refused, 2 if the configuration cannot be used.
    """
    if (name is None) is not off:
        raise typer.BadParameter("name a model, or --off")
    with _store(config, as_json) as (store, settings):
        model = store.find(name) if name else None
        state = store.set_shadow(model.sha256 if model else None)
        done = f"shadow is {model.name} {model.sha256}" if model else "shadow is off"
        _end(settings, state, done, as_json)


COMMANDS = (install, list_, activate, rollback, canary, shadow, remove)


@contextmanager
def _store(config: Path | None, as_json: bool) -> Iterator[tuple[ModelStore, Settings]]:
    """What is refused ends the command with exit code 1, a bad configuration with 2."""
    from service.analysis.inference import InferenceError
    from service.analysis.model_package import ModelPackageError
    from service.analysis.model_store import ModelStore
    from service.journal.database import JournalError

    code, problem = 0, ""
    try:
        settings = load_settings(config)
        yield ModelStore(settings), settings
    except (ConfigurationError, JournalError) as error:
        code, problem = 2, str(error)
    except (InferenceError, ModelPackageError) as error:
        code, problem = 1, str(error)
    except OSError as error:
        code, problem = 1, f"{error.strerror}: {error.filename}"
    if code:
        if as_json:
            typer.echo(json.dumps({"problem": problem}))
        typer.echo(f"error: {problem}", err=True)
        raise typer.Exit(code)


def _end(settings: Settings, state: State, done: str, as_json: bool) -> None:
    """It changes what patients get, so that it is recorded who ordered it."""
    from service.audit.messages import software_configured
    from service.audit.trail import AuditTrail
    from service.monitoring.metrics import Metrics

    AuditTrail(settings.audit_dir, Metrics()).write(software_configured(login(), done))
    if as_json:
        typer.echo(json.dumps({**_told_state(state), "problem": None}))
    else:
        typer.echo(f"{done}: workers follow within seconds")


def _told(installed: Installed) -> dict[str, Any]:
    return {
        "name": installed.manifest and installed.manifest.name,
        "version": installed.manifest and installed.manifest.version,
        "sha256": installed.sha256,
        "signed_by": installed.signed_by,
        "problem": installed.problem,
    }


def _told_state(state: State) -> dict[str, Any]:
    return state.model_dump(mode="json", exclude={"schema_version"})


def _uses(state: State, model: Installed) -> Iterator[str]:
    for use in ("active", "previous", "shadow"):
        if getattr(state, use) == model.sha256:
            yield use
    if state.canary is not None and state.canary.model == model.sha256:
        yield "canary"
