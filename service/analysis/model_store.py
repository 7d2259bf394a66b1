"""The model store: installed packages under ``models/`` of the data folder, and which is active."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from service.analysis.model_package import (
    MODEL_FILE,
    Manifest,
    ModelPackage,
    ModelPackageError,
    load_model_package,
    read_manifest,
)
from service.analysis.model_state import Canary, State, with_active
from service.analysis.signature import (
    PINNED_FILES,
    SIGNATURE_FILE,
    package_sha256,
    require_signature,
)
from service.config import Settings
from service.ownership import hand_over
from service.sections import REFERENCE_MODEL
from service.spool import sync_folder, write_durably

__all__ = ["Canary", "Installed", "ModelStore", "State"]

STATE_FILE = "active.json"
_LOCK_FILE = ".lock"
_INCOMING = ".incoming"
_SHORTEST_PREFIX = 4


@dataclass(frozen=True)
class Installed:
    """sha256: of the package. signed_by: public key, None if it is unsigned.

    problem: why manifest or signature cannot be read; None if they can.
    """

    sha256: str
    manifest: Manifest | None
    signed_by: str | None
    problem: str | None = None

    @property
    def name(self) -> str:
        if self.manifest is None:
            return "damaged"
        return f"{self.manifest.name}@{self.manifest.version}"


class ModelStore:
    """``models/SHA256/`` with a package each, and ``models/active.json``.

    Processes of several machines may use one at a time: packages never change once they have
    their name, and the state is replaced as a whole.
    """

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.models_dir
        self.state_file = self.folder / STATE_FILE
        self._configured = settings.analysis.model
        self._operating_point = settings.analysis.operating_point
        self._trusted_keys = settings.analysis.trusted_keys

    def state(self) -> State:
        """The empty one where nothing was ever activated. Raises ModelPackageError."""
        try:
            return State.model_validate_json(self.state_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise ModelPackageError(
                f"{self.state_file} cannot be read: {error.strerror}"
            ) from error
        except (ValidationError, UnicodeDecodeError):
            raise ModelPackageError(
                f"{self.state_file} is not valid: restore it, or remove it to use analysis.model"
            ) from None

    def version(self) -> tuple[int, int] | None:
        """Another one after each change of the state; None while there is none. It is cheap."""
        try:
            found = self.state_file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def package(self, sha256: str | None) -> ModelPackage:
        """An installed package, or with None that of ``analysis.model``, checked anew.

        sha256: may be that of the configured package, too.
        Raises ModelPackageError if it is not there, not what was installed, or not signed by a
        trusted key where there are any.
        """
        folder = self.folder_of(sha256)
        package = load_model_package(folder)
        found = package_sha256(folder)
        if sha256 is not None and found != sha256:
            raise ModelPackageError(
                f"{folder} is not what was installed: remove it and install the package again"
            )
        if folder != REFERENCE_MODEL:  # which is a part of the program
            require_signature(folder, found, self._trusted_keys)
        return package

    def active(self) -> ModelPackage:
        """Raises ModelPackageError."""
        return self.package(self.state().active)

    def in_use(self) -> list[Manifest]:
        """Of the active package and of the canary, unchecked. Raises ModelPackageError."""
        state = self.state()
        used = [state.active, *([state.canary.model] if state.canary else [])]
        return [read_manifest(self.folder_of(sha256)) for sha256 in used]

    def active_folder(self) -> Path:
        """Of the active package, unchecked. Raises ModelPackageError if the state is not valid."""
        return self.folder_of(self.state().active)

    def folder_of(self, sha256: str | None) -> Path:
        """Where a package lies, unchecked. Raises ModelPackageError if it is not there."""
        if sha256 is None:
            return self._configured
        if (self.folder / sha256).is_dir():
            return self.folder / sha256
        if sha256 == self._configured_sha256:
            return self._configured
        raise ModelPackageError(
            f"the model {sha256[:12]} is not installed here: `secondread model install` it"
        )

    def has(self, sha256: str) -> bool:
        try:
            return self.folder_of(sha256).is_dir()
        except ModelPackageError:
            return False

    def sha256_of(self, sha256: str | None) -> str:
        """Also of the configured package, which is None in a state. Raises ModelPackageError."""
        return self._configured_sha256 if sha256 is None else sha256

    @cached_property
    def _configured_sha256(self) -> str:
        """Nobody changes it under a running service."""
        return package_sha256(self._configured)

    def with_model_file(self, model_sha256: str) -> str | None:
        """An installed package by the digest of its ``model.onnx``."""
        for each in self.installed():
            if each.manifest is not None and each.manifest.sha256 == model_sha256:
                return each.sha256
        return None

    def installed(self) -> list[Installed]:
        """By name and version. Only ``package`` compares the files with the digest."""
        folders = self.folder.iterdir() if self.folder.is_dir() else ()
        found = [
            _look_into(each) for each in folders if each.is_dir() and not each.name.startswith(".")
        ]
        return sorted(found, key=lambda each: (each.name, each.sha256))

    def find(self, name: str) -> Installed:
        """By ``name@version``, or the first digits of its sha256. Raises ModelPackageError."""
        by_name = [each for each in self.installed() if each.name == name]
        prefix = name.lower()
        long_enough = len(prefix) >= _SHORTEST_PREFIX
        found = by_name or [
            each for each in self.installed() if long_enough and each.sha256.startswith(prefix)
        ]
        if not found:
            raise ModelPackageError(f"no installed model is {name}: see `secondread model list`")
        if len(found) > 1:
            digits = ", ".join(each.sha256[:12] for each in found)
            raise ModelPackageError(f"{name} is the name of several: say which of {digits}")
        return found[0]

    def install(self, source: Path, check: Callable[[ModelPackage], None]) -> Installed:
        """Copy a package into the store, durably; one that is there already stays.

        check: proves the copy before it gets its name, or raises.
        Raises ModelPackageError, OSError, and what ``check`` raises.
        """
        with self._locked():
            incoming = self.folder / _INCOMING
            shutil.rmtree(incoming, ignore_errors=True)
            try:
                return self._install(source, incoming, check)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)

    def _install(
        self, source: Path, incoming: Path, check: Callable[[ModelPackage], None]
    ) -> Installed:
        read_manifest(source)
        incoming.mkdir()
        for name in (*PINNED_FILES, SIGNATURE_FILE):
            if (source / name).is_file():
                _copy_durably(source / name, incoming / name)
        sync_folder(incoming)
        package = load_model_package(incoming)
        package.manifest.threshold_of(self._operating_point)
        sha256 = package_sha256(incoming)
        signer = require_signature(incoming, sha256, self._trusted_keys)
        check(package)
        target = self.folder / sha256
        try:
            self.package(sha256)
        except ModelPackageError:
            shutil.rmtree(target, ignore_errors=True)
            os.replace(incoming, target)
            sync_folder(self.folder)
            hand_over([target, *target.iterdir()], self.folder.parent)
        return Installed(sha256, package.manifest, signer)

    def change(self, make: Callable[[State], State]) -> State:
        """Replace the state by what ``make`` makes of it, durably; returns the new one.

        Raises ModelPackageError, OSError, and what ``make`` raises (nothing is then changed).
        """
        with self._locked():
            state = make(self.state())
            write_durably(self.state_file, state.model_dump_json(indent=2).encode())
            sync_folder(self.folder)
            hand_over([self.state_file], self.folder.parent)
            return state

    def activate(self, sha256: str) -> State:
        """For new studies from now on. A canary or shadow that is it ends. Raises ModelPackageError
        if the package cannot be used, or lacks the configured operating point."""
        self.package(sha256).manifest.threshold_of(self._operating_point)
        return self.change(lambda state: with_active(state, sha256))

    def rollback(self) -> State:
        """What was active before is active again. Raises ModelPackageError if nothing was."""

        def back(state: State) -> State:
            if state.activated_at is None:
                raise ModelPackageError("nothing was activated: there is no way back")
            self.package(state.previous).manifest.threshold_of(self._operating_point)
            return with_active(state, state.previous)

        return self.change(back)

    def set_shadow(self, sha256: str | None) -> State:
        """It scores from now on, or none does. Raises ModelPackageError if the package cannot be
        used, lacks the configured operating point, or is the active model itself."""
        if sha256 is not None:
            manifest = self.package(sha256).manifest
            manifest.threshold_of(self._operating_point)
            if manifest.sha256 == read_manifest(self.active_folder()).sha256:
                raise ModelPackageError(
                    f"{manifest.name} {manifest.version} has the active model's {MODEL_FILE}: its "
                    "scores are the same"
                )
        return self.change(lambda state: state.model_copy(update={"shadow": sha256}))

    def begin_canary(self, sha256: str, share: float, scanners: Sequence[str]) -> State:
        """In place of the one before. share: 0–1. scanners: calling AE titles.

        Raises ModelPackageError as ``activate``, or if the model is active or a title is none.
        """
        self.package(sha256).manifest.threshold_of(self._operating_point)
        try:
            canary = Canary(model=sha256, share=share, scanners=tuple(scanners))
        except ValidationError:
            raise ModelPackageError("a scanner is named by its AE title, 1 to 16 letters") from None

        def begin(state: State) -> State:
            if state.active == sha256:
                raise ModelPackageError(f"{sha256[:12]} is active: all new studies get it")
            return state.model_copy(update={"canary": canary})

        return self.change(begin)

    def end_canary(self) -> State:
        """Raises ModelPackageError if there is none."""

        def end(state: State) -> State:
            if state.canary is None:
                raise ModelPackageError("there is no canary")
            return state.model_copy(update={"canary": None})

        return self.change(end)

    def remove(self, sha256: str, awaited: Collection[str] = ()) -> None:
        """awaited: packages that images wait for, see ``Journal.awaited_models``.

        Raises ModelPackageError if the package is one of them, or the state names it.
        """
        if sha256 in awaited:
            raise ModelPackageError(f"images wait for {sha256[:12]}: it stays")
        with self._locked():
            state = self.state()
            uses = {
                "is active": state.active,
                "was active before, and rollback goes to it": state.previous,
                "is the canary": state.canary.model if state.canary else None,
                "is the shadow": state.shadow,
            }
            for use, model in uses.items():
                if model == sha256:
                    raise ModelPackageError(f"{sha256[:12]} {use}: it stays")
            doomed = self.folder / _INCOMING
            shutil.rmtree(doomed, ignore_errors=True)
            os.replace(self.folder / sha256, doomed)
            sync_folder(self.folder)
            shutil.rmtree(doomed)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One change at a time, of all processes that share the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / _LOCK_FILE
        with lock.open("ab") as turn:
            hand_over([self.folder, lock], self.folder.parent)
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield


def _look_into(folder: Path) -> Installed:
    try:
        manifest, signer = read_manifest(folder), require_signature(folder, folder.name, ())
    except ModelPackageError as error:
        return Installed(folder.name, None, None, str(error))
    return Installed(folder.name, manifest, signer)


def _copy_durably(source: Path, target: Path) -> None:
    with source.open("rb") as stream, target.open("xb") as copy:
        shutil.copyfileobj(stream, copy)
        copy.flush()
        os.fsync(copy.fileno())
