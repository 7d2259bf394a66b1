"""A service's folder with an active model, others that may follow it, and images to score."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pydicom import Dataset

from dicom_sr.part10 import part10_bytes
from service.analysis.analyser import Analyser
from service.analysis.model_package import ModelPackage
from service.analysis.model_store import ModelStore
from service.analysis.models_in_hand import ModelsInHand
from service.analysis.task import AnalysisTask
from service.config import Settings
from service.journal.journal import Journal
from service.journal.records import ReceivedImage
from service.journal.shadow_records import Said, ShadowState
from service.monitoring.metrics import Metrics
from service.sections import AnalysisSettings
from service.shadow.follower import ShadowFollower
from service.spool import Spool, image_key
from service.still_image import wrap_pixels
from tests.analysis.conftest import brightness_model, speckle, write_package


def steeper() -> onnx.ModelProto:
    """The brightness counts twice as much."""
    model = brightness_model()
    reshape = next(node for node in model.graph.node if node.op_type == "Reshape")
    reshape.output[0] = "mild"
    double = helper.make_node("Add", ["mild", "mild"], ["malignant"])
    model.graph.node.insert(list(model.graph.node).index(reshape) + 1, double)
    return model


def raising() -> onnx.ModelProto:
    """Of all but black images its answer is no probability."""
    model = brightness_model()
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.output[0] = "shares"
    _one(model)
    model.graph.node.extend(
        [
            *_above_black(),
            helper.make_node("Add", ["above", "one"], ["more"]),
            helper.make_node("Mul", ["shares", "more"], ["probabilities"]),
        ]
    )
    return model


def slow() -> onnx.ModelProto:
    """Of all but black images it counts to a milliard first."""
    model = brightness_model()
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.input[0] = "late"
    _one(model)
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Add", ["sum", "sum"], ["sum_out"]),
        ],
        "count",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_out", TensorProto.FLOAT, []),
        ],
    )
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(1e9, dtype=np.float32), "milliard"),
            numpy_helper.from_array(np.array(0, dtype=np.float32), "zero"),
            numpy_helper.from_array(np.array(True), "yes"),
            numpy_helper.from_array(np.array([], dtype=np.int64), "scalar"),
        ]
    )
    position = list(model.graph.node).index(softmax)
    for node in reversed(
        [
            *_above_black(),
            helper.make_node("Mul", ["above", "milliard"], ["many"]),
            helper.make_node("Reshape", ["many", "scalar"], ["much"]),
            helper.make_node("Cast", ["much"], ["times"], to=TensorProto.INT64),
            helper.make_node("Loop", ["times", "yes", "zero"], ["nothing"], body=body),
            helper.make_node("Add", ["logits", "nothing"], ["late"]),
        ]
    ):
        model.graph.node.insert(position, node)
    return model


def _one(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "one"))


def _above_black() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Add", ["malignant", "one"], ["raised"]),
        helper.make_node("Relu", ["raised"], ["above"]),
    ]


class Site:
    """A data folder with what a worker works on, and a model that is active.

    clock: the journal's time; without one, the real one.
    """

    def __init__(self, folder: Path, active: Path, clock: Callable[[], datetime] | None) -> None:
        analysis = AnalysisSettings(
            model=active, threads=1, concurrency=1, decode_seconds=20, decode_megabytes=1024
        )
        self.settings = Settings(data_dir=folder / "data", analysis=analysis)
        self.journal = Journal(self.settings.journal_url, clock=clock or partial(datetime.now, UTC))
        self.journal.migrate()
        self.spool = Spool(self.settings.spool_dir)
        self.spool.prepare()
        self.store = ModelStore(self.settings)
        self.metrics = Metrics()

    def follow(self, model: onnx.ModelProto, version: str = "2") -> None:
        """Install a model and name it as the shadow."""
        package = write_package(self.settings.data_dir / "made", model, version=version)
        installed = self.store.install(package.folder, lambda _: None)
        self.store.set_shadow(installed.sha256)

    def receive(self, data_set: Dataset) -> str:
        """As ingest does; its key."""
        digest = "0" * 64
        syntax = data_set.file_meta.TransferSyntaxUID
        key = image_key(data_set.SOPInstanceUID, syntax, digest)
        temporary = self.spool.incoming / key
        temporary.write_bytes(part10_bytes(data_set))
        self.spool.keep_image(key, temporary)
        self.journal.record_received(
            ReceivedImage(
                key=key,
                sop_instance_uid=data_set.SOPInstanceUID,
                sop_class_uid=data_set.SOPClassUID,
                transfer_syntax_uid=syntax,
                digest=digest,
                size_bytes=temporary.stat().st_size if temporary.exists() else 1,
                calling_ae_title="SCANNER",
                received_at=datetime.now(UTC),
                study_instance_uid=data_set.StudyInstanceUID,
            )
        )
        return key

    def analyse(self, key: str) -> None:
        """As the worker does."""

        def load(package: ModelPackage) -> Analyser:
            return Analyser(self.settings.analysis, package=package)

        with closing(ModelsInHand(self.store, self.journal, load, self.metrics)) as models:
            AnalysisTask(
                self.settings,
                self.spool,
                self.journal,
                models,
                lambda parcel, destination: None,
                self.metrics,
            ).run(key)

    @contextmanager
    def follower(self, **options: float) -> Iterator[ShadowFollower]:
        """One that looks when it is told to."""
        made = ShadowFollower(
            self.settings, self.spool, self.journal, self.metrics, self.store, **options
        )
        try:
            yield made
        finally:
            made.stop()

    def look(self, **options: float) -> None:
        """Let the shadow look once."""
        with self.follower(**options) as follower:
            follower.look()

    def said(self, key: str) -> Said | None:
        """What the shadow says of an image; None while it says nothing."""
        found = [pair.shadow for pair in self.journal.shadow_pairs() if pair.key == key]
        ended = [said for said in found if said.state is not ShadowState.BEGUN]
        return ended[0] if ended else None

    def has_begun(self, key: str) -> bool:
        return any(pair.key == key for pair in self.journal.shadow_pairs())

    def results(self, key: str) -> dict[str, bytes]:
        """Every file of the spool's results of an image."""
        folder = self.spool.results_folder(key)
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    def attempts(self, key: str) -> int:
        row = self.journal.image(key)
        assert row is not None
        return row.attempts


@pytest.fixture(scope="session")
def active_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("active"), brightness_model()).folder


@pytest.fixture
def make_site(
    tmp_path_factory: pytest.TempPathFactory, active_model: Path
) -> Iterator[Callable[..., Site]]:
    with ExitStack() as stack:

        def make(clock: Callable[[], datetime] | None = None) -> Site:
            site = Site(tmp_path_factory.mktemp("site"), active_model, clock)
            stack.callback(site.journal.close)
            return site

        yield make


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


def tissue(number: int = 0) -> Dataset:
    """A US Image of grey speckle that the gate lets pass."""
    data_set = wrap_pixels(speckle(240, 320, seed=number), f"tissue-{number}")
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "BREAST", "0001"]
    return data_set


class AnalysisWorker:
    """``secondread worker --queue analysis`` on a site's folder."""

    def __init__(self, site: Site, broker_url: str, port: int) -> None:
        self._site = site
        self._environment = {
            **os.environ,
            "SECONDREAD_DATA_DIR": str(site.settings.data_dir),
            "SECONDREAD_ANALYSIS__MODEL": str(site.settings.analysis.model),
            "SECONDREAD_ANALYSIS__THREADS": "1",
            "SECONDREAD_BROKER__URL": broker_url,
            "SECONDREAD_MONITORING__ANALYSIS_PORT": str(port),
        }
        self.log = site.settings.data_dir / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "service.cli", "worker", "--queue", "analysis"]
        with self.log.open("ab") as log:
            log.truncate(0)
            self._process = subprocess.Popen(command, stderr=log, env=self._environment)

    def said(self, text: str) -> bool:
        return text in self.log.read_text()

    def children(self) -> list[int]:
        """Process ids of the shadow's processes."""
        assert self._process is not None
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdigit() and _command(path).endswith("-m service.shadow.child"):
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self._process.pid:
                    found.append(int(path.name))
        return found

    def end(self, how: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(20)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGKILL)


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode().replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
