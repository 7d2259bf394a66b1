"""The model store: what is installed, what is refused, and which package is active."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_export.signing import make_key, sign_package
from service.analysis.model_package import (
    CARD_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    ModelPackage,
    ModelPackageError,
)
from service.analysis.model_store import Canary, ModelStore, State
from service.analysis.signature import SIGNATURE_FILE, package_sha256
from service.cli.app import app
from service.config import ConfigurationError, Settings, load_settings
from service.journal.journal import Journal
from service.sections import AnalysisSettings

Version = Callable[[str], Path]


@pytest.fixture
def version(tmp_path: Path, package: ModelPackage) -> Version:
    """``version("2")``: the package once more under another version."""

    def make(name: str) -> Path:
        folder = tmp_path / f"version-{name}"
        shutil.copytree(package.folder, folder)
        manifest = package.manifest.model_copy(update={"version": name})
        (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
        return folder

    return make


@pytest.fixture
def key(tmp_path: Path) -> tuple[Path, str]:
    """A private key's file, which is its owner's alone, and its public key."""
    path = tmp_path / "key.pem"
    public = make_key(path)
    assert path.stat().st_mode & 0o077 == 0
    return path, public


def opened(tmp_path: Path, package: ModelPackage, *trusted: str) -> ModelStore:
    analysis = AnalysisSettings(model=package.folder, trusted_keys=trusted)
    return ModelStore(Settings(data_dir=tmp_path / "data", analysis=analysis))


@pytest.fixture
def store(tmp_path: Path, package: ModelPackage) -> ModelStore:
    (tmp_path / "data").mkdir()
    return opened(tmp_path, package)


def install(store: ModelStore, folder: Path) -> str:
    return store.install(folder, lambda _: None).sha256


def test_without_a_store_the_configured_package_is_active(
    store: ModelStore, package: ModelPackage
) -> None:
    assert store.state() == State()
    assert store.active() == package
    assert store.installed() == []
    assert store.version() is None


def test_a_configured_folder_that_is_no_package_is_told_as_such(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, analysis=AnalysisSettings(model=tmp_path / "nowhere"))
    for look in (lambda store: store.active(), lambda store: store.sha256_of(None)):
        with pytest.raises(ModelPackageError, match="nowhere is not a model package"):
            look(ModelStore(settings))


def test_the_digest_is_what_coreutils_would_say(version: Version) -> None:
    folder = version("2")
    (folder / CARD_FILE).write_text("# Card")
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("manifest.json", "model.onnx", "model_card.md")
    ]
    assert package_sha256(folder) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_what_is_activated_is_active_and_rollback_goes_back(
    store: ModelStore, package: ModelPackage, version: Version
) -> None:
    second, third = (install(store, version(name)) for name in "23")
    seen = [store.version()]
    for sha256 in (second, third):
        store.activate(sha256)
        seen.append(store.version())
    assert len(set(seen)) == 3
    assert store.active().manifest.version == "3"
    assert store.rollback().active == second
    assert store.rollback().active == third
    assert store.state().previous == second


def test_the_first_activation_is_rolled_back_to_the_configured_package(
    store: ModelStore, package: ModelPackage, version: Version
) -> None:
    with pytest.raises(ModelPackageError, match="no way back"):
        store.rollback()
    second = install(store, version("2"))
    store.activate(second)
    assert store.rollback().active is None
    assert store.active() == package
    assert store.rollback().active == second


def test_a_package_is_found_by_name_or_by_the_first_digits(
    store: ModelStore, version: Version
) -> None:
    second, third = (install(store, version(name)) for name in "23")
    assert store.find("brightness@2").sha256 == second
    assert store.find(third[:12].upper()).sha256 == third
    for unknown in ("brightness", "brightness@4", second[:3], ""):
        with pytest.raises(ModelPackageError, match="no installed model"):
            store.find(unknown)


def test_a_name_that_two_packages_have_is_not_enough(store: ModelStore, version: Version) -> None:
    folder = version("2")
    install(store, folder)
    (folder / CARD_FILE).write_text("# Another card")
    install(store, folder)
    with pytest.raises(ModelPackageError, match="several"):
        store.find("brightness@2")


def test_to_install_again_changes_nothing_and_mends_what_is_damaged(
    store: ModelStore, version: Version
) -> None:
    folder = version("2")
    sha256 = install(store, folder)
    manifest = store.folder / sha256 / MANIFEST_FILE
    before = manifest.stat().st_ino
    assert install(store, folder) == sha256
    assert manifest.stat().st_ino == before
    manifest.write_text(manifest.read_text().replace("tests", "tasks"))
    with pytest.raises(ModelPackageError, match="not what was installed"):
        store.activate(sha256)
    install(store, folder)
    store.activate(sha256)


def test_a_package_that_cannot_be_read_hides_no_other_and_can_be_removed(
    store: ModelStore, version: Version
) -> None:
    second, third = (install(store, version(name)) for name in "23")
    (store.folder / second / MANIFEST_FILE).write_text("{")
    names = {each.sha256: each.name for each in store.installed()}
    assert names == {second: "damaged", third: "brightness@3"}
    assert store.find("brightness@3").sha256 == third
    with pytest.raises(ModelPackageError, match="not valid"):
        store.activate(second)
    store.remove(store.find(second[:8]).sha256)
    assert [each.sha256 for each in store.installed()] == [third]


def test_a_check_that_fails_leaves_nothing_behind(store: ModelStore, version: Version) -> None:
    def refuse(_: ModelPackage) -> None:
        raise ModelPackageError("no")

    with pytest.raises(ModelPackageError, match="no"):
        store.install(version("2"), refuse)
    assert store.installed() == []
    assert [path.name for path in store.folder.iterdir()] == [".lock"]


@pytest.mark.parametrize("use", ["active", "previous", "shadow", "canary"])
def test_what_is_used_is_not_removed(store: ModelStore, version: Version, use: str) -> None:
    sha256 = install(store, version("2"))
    value = Canary(model=sha256) if use == "canary" else sha256
    store.change(lambda state: state.model_copy(update={use: value}))
    with pytest.raises(ModelPackageError, match="it stays"):
        store.remove(sha256)
    store.change(lambda _: State())
    store.remove(sha256)
    assert store.installed() == []


def test_the_canary_ends_when_it_is_activated(store: ModelStore, version: Version) -> None:
    second, third = (install(store, version(name)) for name in "23")
    store.change(lambda state: state.model_copy(update={"canary": Canary(model=second)}))
    assert store.activate(third).canary is not None
    assert store.activate(second).canary is None


def test_a_state_that_is_damaged_is_told(store: ModelStore, version: Version) -> None:
    install(store, version("2"))
    store.state_file.write_text('{"active": "../../etc"}')
    with pytest.raises(ModelPackageError, match=r"active\.json is not valid"):
        store.active()


def test_changes_of_several_at_once_are_not_lost(store: ModelStore, version: Version) -> None:
    second, third = (install(store, version(name)) for name in "23")

    def set_often(field: str, value: str) -> None:
        for _ in range(20):
            store.change(lambda state: state.model_copy(update={field: None}))
            store.change(lambda state: state.model_copy(update={field: value}))

    fields = (("active", second), ("shadow", third))
    threads = [threading.Thread(target=set_often, args=each) for each in fields]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (store.state().active, store.state().shadow) == (second, third)


def test_an_operating_point_that_a_package_lacks_is_told_before_it_is_installed(
    tmp_path: Path, gated_package: ModelPackage, version: Version
) -> None:
    analysis = AnalysisSettings(model=gated_package.folder, operating_point="youden")
    store = ModelStore(Settings(data_dir=tmp_path / "data", analysis=analysis))
    with pytest.raises(ModelPackageError, match="no operating point 'youden'"):
        install(store, version("2"))


# signatures


def test_a_signed_package_is_taken_and_says_who_signed_it(
    tmp_path: Path, package: ModelPackage, version: Version, key: tuple[Path, str]
) -> None:
    folder, (path, public) = version("2"), key
    sign_package(folder, path)
    store = opened(tmp_path, package, public)
    assert store.install(folder, lambda _: None).signed_by == public
    store.activate(package_sha256(folder))
    assert store.active().manifest.version == "2"


def test_an_unsigned_package_is_refused_where_keys_are_trusted(
    tmp_path: Path,
    store: ModelStore,
    package: ModelPackage,
    version: Version,
    key: tuple[Path, str],
) -> None:
    folder = version("2")
    sha256 = install(store, folder)
    strict = opened(tmp_path, package, key[1])
    with pytest.raises(ModelPackageError, match="is not signed"):
        install(strict, folder)
    with pytest.raises(ModelPackageError, match="is not signed"):
        strict.activate(sha256)
    with pytest.raises(ModelPackageError, match="is not signed"):
        strict.active()


def test_a_stranger_signs_in_vain(
    tmp_path: Path, package: ModelPackage, version: Version, key: tuple[Path, str]
) -> None:
    folder = version("2")
    stranger = tmp_path / "stranger.pem"
    make_key(stranger)
    sign_package(folder, stranger)
    with pytest.raises(ModelPackageError, match=r"not in analysis\.trusted_keys"):
        install(opened(tmp_path, package, key[1]), folder)


@pytest.mark.parametrize("file", [MANIFEST_FILE, CARD_FILE])
@pytest.mark.parametrize("trusting", [True, False])
def test_a_file_that_was_changed_after_the_signature_is_told(
    tmp_path: Path,
    package: ModelPackage,
    version: Version,
    key: tuple[Path, str],
    file: str,
    trusting: bool,
) -> None:
    folder = version("2")
    (folder / CARD_FILE).write_text("Card of tests")
    sign_package(folder, key[0])
    (folder / file).write_text((folder / file).read_text().replace("tests", "tasks"))
    with pytest.raises(ModelPackageError, match="not what was signed"):
        install(opened(tmp_path, package, *([key[1]] if trusting else [])), folder)


def test_another_model_under_the_signed_manifest_is_told(
    tmp_path: Path, package: ModelPackage, version: Version, key: tuple[Path, str]
) -> None:
    folder = version("2")
    sign_package(folder, key[0])
    with (folder / MODEL_FILE).open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ModelPackageError, match="not the file that the manifest describes"):
        install(opened(tmp_path, package, key[1]), folder)


@pytest.mark.parametrize("forged", ["sha256", "signature", "public_key"])
def test_a_forged_signature_does_not_fit(
    tmp_path: Path, package: ModelPackage, version: Version, key: tuple[Path, str], forged: str
) -> None:
    """Who knows a trusted key's public half may write all of it but the signature itself."""
    folder, other = version("2"), version("3")
    stranger = tmp_path / "stranger.pem"
    make_key(stranger)
    right, wrong = sign_package(folder, key[0]), sign_package(other, stranger)
    signature = right.model_copy(update={forged: getattr(wrong, forged)})
    (folder / SIGNATURE_FILE).write_text(signature.model_dump_json())
    with pytest.raises(ModelPackageError, match=r"not what was signed|trusted_keys"):
        install(opened(tmp_path, package, key[1]), folder)


def test_a_trusted_key_must_be_one(tmp_path: Path) -> None:
    config = tmp_path / "secondread.toml"
    config.write_text('analysis.trusted_keys = ["c2hvcnQ="]')
    with pytest.raises(ConfigurationError, match=r"analysis\.trusted_keys: .*32 bytes"):
        load_settings(config)


# commands


def told(tmp_path: Path, package: ModelPackage, *arguments: str) -> tuple[int, dict[str, object]]:
    """Exit code and JSON of ``secondread model …``."""
    config = tmp_path / "secondread.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\nanalysis.model = "{package.folder}"')
    answer = CliRunner().invoke(app, ["model", *arguments, "--json", "--config", str(config)])
    return answer.exit_code, json.loads(answer.stdout)


def test_a_model_goes_in_is_activated_and_rolled_back_by_commands(
    tmp_path: Path, package: ModelPackage, version: Version
) -> None:
    journal = Journal(f"sqlite:///{tmp_path / 'data' / 'journal.sqlite3'}")
    journal.migrate()
    journal.close()
    code, installed = told(tmp_path, package, "install", str(version("2")))
    assert (code, installed["name"], installed["problem"]) == (0, "brightness", None)
    assert "its probabilities sum to 1" in installed["checks"]
    code, state = told(tmp_path, package, "activate", "brightness@2")
    assert (code, state["active"]) == (0, installed["sha256"])
    code, answer = told(tmp_path, package, "remove", "brightness@2")
    assert code == 1
    assert "is active" in str(answer["problem"])
    code, state = told(tmp_path, package, "rollback")
    assert (code, state["active"]) == (0, None)
    code, listed = told(tmp_path, package, "list")
    assert [each["sha256"] for each in listed["installed"]] == [installed["sha256"]]
    trail = "".join(path.read_text() for path in (tmp_path / "data" / "audit").iterdir())
    assert trail.count("Software Configuration") == 2
    assert f"activated brightness@2 {installed['sha256']}" in trail


def test_a_canary_is_begun_replaced_and_ended_by_command(
    tmp_path: Path, package: ModelPackage, version: Version
) -> None:
    sha256 = told(tmp_path, package, "install", str(version("2")))[1]["sha256"]
    code, state = told(tmp_path, package, "canary", "brightness@2", "--share", "0.1")
    assert (code, state["canary"]) == (0, {"model": sha256, "share": 0.1, "scanners": []})
    code, state = told(tmp_path, package, "canary", "brightness@2", "--scanner", "ROOM1")
    assert (code, state["canary"]) == (0, {"model": sha256, "share": 0, "scanners": ["ROOM1"]})
    assert told(tmp_path, package, "canary", "--off")[1]["canary"] is None
    code, answer = told(tmp_path, package, "canary", "--off")
    assert (code, answer["problem"]) == (1, "there is no canary")
    code, answer = told(tmp_path, package, "canary", "brightness@2", "--scanner", "A" * 17)
    assert code == 1
    assert "AE title" in str(answer["problem"])
    told(tmp_path, package, "activate", "brightness@2")
    code, answer = told(tmp_path, package, "canary", "brightness@2", "--share", "1")
    assert code == 1
    assert "is active" in str(answer["problem"])


@pytest.mark.parametrize(
    "arguments",
    [[], ["brightness@2"], ["--share", "0.1"], ["--off", "--share", "0.1"], ["x", "--off"]],
)
def test_half_a_canary_is_refused(
    tmp_path: Path, package: ModelPackage, arguments: list[str]
) -> None:
    assert CliRunner().invoke(app, ["model", "canary", *arguments]).exit_code == 2


def test_what_images_wait_for_is_not_removed(store: ModelStore, version: Version) -> None:
    sha256 = install(store, version("2"))
    with pytest.raises(ModelPackageError, match="images wait"):
        store.remove(sha256, {sha256})


def test_a_package_that_cannot_work_is_not_installed(
    tmp_path: Path, package: ModelPackage, broken_package: ModelPackage
) -> None:
    code, answer = told(tmp_path, package, "install", str(broken_package.folder))
    assert code == 1
    assert "its probabilities sum to" in str(answer["problem"])
    assert told(tmp_path, package, "list")[1]["installed"] == []
