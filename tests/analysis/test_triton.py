"""The model on a Triton Inference Server: the same answers, the same model, and its outages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from service.analysis import triton as runner
from service.analysis.decode import Decoder
from service.analysis.inference import InferenceError, Score, Scorer
from service.analysis.model_package import MODEL_FILE, ModelPackage, load_model_package
from service.analysis.process import _handlers
from service.analysis.triton import TritonAway
from service.analysis.triton_repository import (
    CONFIG_FILE,
    VERSION,
    model_name,
    write_model,
)
from service.audit.trail import AuditTrail
from service.cli.model import model_app
from service.config import Settings
from service.destination import ClientTls
from service.doctor import examine
from service.journal.journal import Journal
from service.monitoring.metrics import Metrics
from service.outage import Outage
from service.queue.process import Tools
from service.queue.publisher import Publisher
from service.sections import REFERENCE_MODEL, AnalysisSettings, TritonSettings
from service.spool import Spool
from tests.authority import Authority
from tests.conftest import running
from tests.triton import Triton

REAL = (
    "breast/uta4_p1_d045f565_IM128.dcm",
    "breast/uta7_Anonymized1_US000000.dcm",
    "breast/uta11_00378d36_IM4.dcm",
)


def served(package: ModelPackage, folder: Path, *arguments: object, batch: int = 8) -> Triton:
    """A server, not started yet, whose repository holds the package's model."""
    server = Triton(folder, *arguments)
    model, _ = write_model(package, server.repository, batch)
    server.adapt(model)
    return server


def by(server: Triton, package: ModelPackage, **changes: object) -> AnalysisSettings:
    return AnalysisSettings(
        model=package.folder, threads=1, triton=TritonSettings(url=server.url, timeout=20)
    ).model_copy(update=changes)


def here(package: ModelPackage) -> Scorer:
    return Scorer(package, AnalysisSettings(model=package.folder, threads=1))


def pictures(number: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 60 + 15 * n, (90, 120), dtype=np.uint8) for n in range(number)]


def assert_same(found: Score, expected: Score) -> None:
    """As near as the batches of one ONNX Runtime are to each other."""
    assert found.probability_malignant == pytest.approx(expected.probability_malignant, abs=1e-5)
    for decision, cam in expected.cams.items():
        assert np.allclose(found.cams[decision], cam, rtol=0, atol=1e-4 * max(1, cam.max()))
    if expected.distance is None:
        assert found.distance is None
    else:
        assert found.distance == pytest.approx(expected.distance, rel=1e-4)


@pytest.fixture(scope="module")
def server(
    gated_package: ModelPackage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Triton]:
    """Runs the gated package, batches of four."""
    made = served(gated_package, tmp_path_factory.mktemp("triton"), batch=4)
    with running(made):
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image waits half a second for a server."""
    monkeypatch.setattr(runner, "_PATIENCE", 0.5)
    monkeypatch.setattr(runner, "_RETRY_SECONDS", 0.1)


def test_real_images_get_the_scores_and_cams_of_the_session_here(
    us_dicom: Path, tmp_path: Path
) -> None:
    package = load_model_package(REFERENCE_MODEL)
    with (
        running(served(package, tmp_path)) as server,
        closing(Scorer(package, by(server, package))) as there,
        Decoder(seconds=20, megabytes=1024) as decoder,
    ):
        alone = here(package)
        for name in REAL:
            frame = decoder.frame(us_dicom / name, 1)
            assert_same(there.score(frame), alone.score(frame))


def test_images_of_several_threads_share_a_request(
    server: Triton, gated_package: ModelPackage
) -> None:
    sizes: list[int] = []
    images = pictures(12)
    settings = by(server, gated_package, batch=4, concurrency=4, batch_wait_ms=200)
    with (
        closing(Scorer(gated_package, settings, on_run=sizes.append)) as there,
        ThreadPoolExecutor(4) as threads,
    ):
        found = list(threads.map(there.score, images))
    assert max(sizes) == 4
    alone = here(gated_package)
    for image, score in zip(images, found, strict=True):
        assert_same(score, alone.score(image))


def test_a_package_without_a_gate_has_no_distance_there(
    package: ModelPackage, tmp_path: Path
) -> None:
    with (
        running(served(package, tmp_path)) as server,
        closing(Scorer(package, by(server, package))) as there,
    ):
        [image] = pictures(1)
        assert_same(there.score(image), here(package).score(image))


def test_a_server_that_is_killed_in_mid_stream_costs_no_image(
    gated_package: ModelPackage, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    images = pictures(8)
    with (
        running(served(gated_package, tmp_path)) as server,
        closing(Scorer(gated_package, by(server, gated_package))) as there,
        ThreadPoolExecutor(2) as threads,
    ):
        first = [threads.submit(there.score, image) for image in images[:4]]
        server.kill()
        eventually(lambda: there.what_is_wrong() is not None)
        rest = [threads.submit(there.score, image) for image in images[4:]]
        server.start()
        found = [each.result(30) for each in (*first, *rest)]
        assert there.what_is_wrong() is None
    alone = here(gated_package)
    for image, score in zip(images, found, strict=True):
        assert_same(score, alone.score(image))


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_away_at_the_start_is_waited_for(
    gated_package: ModelPackage, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    server = served(gated_package, tmp_path)
    with closing(Scorer(gated_package, by(server, gated_package))) as there:
        assert server.url in (there.what_is_wrong() or "")
        with pytest.raises(TritonAway, match="UNAVAILABLE"):
            there.score(pictures(1)[0])
        with running(server):
            eventually(lambda: there.what_is_wrong() is None)
            there.score(pictures(1)[0])


@pytest.mark.usefixtures("impatient")
def test_an_outage_fails_a_whole_batch_at_once(gated_package: ModelPackage, tmp_path: Path) -> None:
    asked: list[int] = []
    settings = by(served(gated_package, tmp_path), gated_package, batch=4, concurrency=4)
    settings = settings.model_copy(update={"batch_wait_ms": 500})
    with (
        closing(Scorer(gated_package, settings, on_run=asked.append)) as there,
        ThreadPoolExecutor(4) as threads,
    ):
        waiting = [threads.submit(there.score, image) for image in pictures(4)]
        assert all(isinstance(each.exception(20), TritonAway) for each in waiting)
    assert asked == [4]


def test_a_frozen_server_is_an_outage(
    gated_package: ModelPackage, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    with running(served(gated_package, tmp_path)) as server:
        settings = by(server, gated_package, triton=TritonSettings(url=server.url, timeout=1))
        with closing(Scorer(gated_package, settings)) as there:
            server.freeze()
            with ThreadPoolExecutor(1) as threads:
                waiting = threads.submit(there.score, pictures(1)[0])
                eventually(lambda: there.what_is_wrong() is not None)
                assert "DEADLINE_EXCEEDED" in (there.what_is_wrong() or "")
                server.thaw()
                waiting.result(30)


def test_a_server_without_the_model_is_refused(server: Triton, package: ModelPackage) -> None:
    words = f"has no model {model_name(package.manifest)}"
    with pytest.raises(InferenceError, match=words) as refused:
        Scorer(package, by(server, package))
    assert isinstance(refused.value, Outage), "a late image of a study that began with it waits"


def test_a_server_that_tells_another_digest_is_refused(
    gated_package: ModelPackage, tmp_path: Path
) -> None:
    server = served(gated_package, tmp_path)
    config = server.repository / model_name(gated_package.manifest) / CONFIG_FILE
    digest = gated_package.manifest.sha256
    config.write_text(config.read_text().replace(digest, digest[::-1]))
    with running(server), pytest.raises(InferenceError, match="its sha256 is"):
        Scorer(gated_package, by(server, gated_package))


def test_a_server_that_answers_otherwise_is_refused(
    gated_package: ModelPackage, broken_package: ModelPackage, tmp_path: Path
) -> None:
    """The configuration is right, and the file beside it is another model's."""
    server = served(gated_package, tmp_path)
    config = server.repository / model_name(gated_package.manifest) / CONFIG_FILE
    kept = [line for line in config.read_text().splitlines() if '"distance"' not in line]
    config.write_text("\n".join(kept))
    (config.parent / VERSION / MODEL_FILE).write_bytes(broken_package.model_path.read_bytes())
    package = load_model_package(gated_package.folder)
    bare = ModelPackage(
        package.folder, package.manifest.model_copy(update={"out_of_distribution": None})
    )
    with running(server), pytest.raises(InferenceError, match="answers a known input otherwise"):
        Scorer(bare, by(server, bare))


@pytest.mark.usefixtures("impatient")
def test_a_server_that_comes_back_with_another_model_is_not_used(
    gated_package: ModelPackage, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    with (
        running(served(gated_package, tmp_path)) as server,
        closing(Scorer(gated_package, by(server, gated_package))) as there,
    ):
        server.kill()
        config = server.repository / model_name(gated_package.manifest) / CONFIG_FILE
        good = config.read_text()
        config.write_text(good.replace(gated_package.manifest.sha256, "0" * 64))
        server.start()
        eventually(lambda: "its sha256 is 000" in (there.what_is_wrong() or ""))
        with pytest.raises(TritonAway, match="its sha256 is 000"):
            there.score(pictures(1)[0])
        server.kill()
        config.write_text(good)
        server.start()
        eventually(lambda: there.what_is_wrong() is None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 5, "concurrency": 5}, "fewer than analysis.batch"),
        ({"require_gpu": True}, "on the CPU"),
    ],
)
def test_a_server_that_does_not_do_what_is_configured_is_refused(
    changes: dict[str, object], words: str, server: Triton, gated_package: ModelPackage
) -> None:
    with pytest.raises(InferenceError, match=words):
        Scorer(gated_package, by(server, gated_package, **changes))


def test_mutual_tls(
    gated_package: ModelPackage, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    certificate, key = ours.sign("triton")
    server = served(
        gated_package,
        tmp_path / "server",
        *("--grpc-use-ssl", "true", "--grpc-use-ssl-mutual", "true", "--grpc-root-cert", ours.ca),
        *("--grpc-server-cert", certificate, "--grpc-server-key", key),
    )
    reader, reader_key = ours.sign("reader")

    def over_tls(ca_file: Path) -> AnalysisSettings:
        tls = ClientTls(ca_file=ca_file, certificate=reader, key=reader_key)
        url = server.url.replace("grpc:", "grpcs:")
        return by(server, gated_package, triton=TritonSettings(url=url, tls=tls, timeout=20))

    with running(server):
        with closing(Scorer(gated_package, over_tls(ours.ca))) as there:
            assert there.what_is_wrong() is None
            there.score(pictures(1)[0])
        with closing(Scorer(gated_package, over_tls(theirs.ca))) as there:
            assert "UNAVAILABLE" in (there.what_is_wrong() or "")
    with pytest.raises(InferenceError, match=r"analysis\.triton\.tls: .*nowhere"):
        Scorer(gated_package, over_tls(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("triton", "words"),
    [
        ({"url": "http://127.0.0.1:8001"}, "pattern"),
        ({"url": "grpc://user:word@triton:8001"}, "pattern"),
        ({"url": "grpcs://triton:8001"}, "needs tls"),
        ({"url": "grpc://triton:8001", "tls": {"ca_file": "ca.pem"}}, "has none"),
        (
            {"url": "grpcs://t:1", "tls": {"ca_file": "ca.pem", "check_host_name": False}},
            "always checked",
        ),
    ],
)
def test_a_section_that_cannot_work_is_refused(triton: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TritonSettings.model_validate(triton)


def test_the_worker_tells_that_its_server_is_away(
    server: Triton, gated_package: ModelPackage, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    settings = Settings(data_dir=tmp_path, analysis=by(server, gated_package))
    publisher, metrics = Publisher("redis://127.0.0.1:1/0"), Metrics()
    tools = Tools(
        *(settings, Spool(settings.spool_dir), Journal(settings.journal_url), publisher, metrics),
        AuditTrail(settings.audit_dir, metrics),
    )

    def up() -> float | None:
        return metrics.registry.get_sample_value("secondread_triton_up", {"server": server.url})

    with _handlers(tools):
        [check] = tools.checks
        assert (check(), up()) == (None, 1)
        server.kill()
        eventually(lambda: check() is not None)
        assert up() == 0
        server.start()
        eventually(lambda: check() is None)
        assert up() == 1


def test_doctor_looks_at_the_server(server: Triton, gated_package: ModelPackage, tmp_path) -> None:
    def model(triton: Triton) -> tuple[bool | None, str]:
        settings = Settings(data_dir=tmp_path, analysis=by(triton, gated_package))
        [found] = [each for each in examine(settings) if each.subject == "model"]
        return found.good, found.found

    good, words = model(server)
    assert good
    assert "on Triton" in words
    good, words = model(Triton(tmp_path / "away"))
    assert good is False
    assert "UNAVAILABLE" in words


def test_the_command_writes_beside_what_is_there_and_twice_nothing(
    package: ModelPackage, gated_package: ModelPackage, tmp_path: Path
) -> None:
    def run(folder: Path, *arguments: str) -> tuple[int, str]:
        told = CliRunner().invoke(model_app, ["triton", str(folder), str(tmp_path), *arguments])
        return told.exit_code, told.output

    for number, each in enumerate((package, gated_package), start=1):
        code, text = run(each.folder, "--json")
        told = json.loads(text)
        assert (code, told["written"], told["sha256"]) == (0, True, each.manifest.sha256)
        assert told["name"] == model_name(each.manifest)
        folder = tmp_path / told["name"]
        assert (folder / VERSION / MODEL_FILE).read_bytes() == each.model_path.read_bytes()
        assert len(list(tmp_path.iterdir())) == number
        before = (folder / CONFIG_FILE).stat().st_mtime_ns
        assert run(each.folder) == (0, f"unchanged: {folder}\n")
        assert (folder / CONFIG_FILE).stat().st_mtime_ns == before
    (folder / VERSION / MODEL_FILE).write_bytes(b"cut off")
    assert run(gated_package.folder)[1].startswith("wrote")
    assert (folder / VERSION / MODEL_FILE).read_bytes() == gated_package.model_path.read_bytes()
    code, text = run(tmp_path)
    assert code == 1
    assert "not a model package" in text
