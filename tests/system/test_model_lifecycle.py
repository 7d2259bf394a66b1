"""The whole service changes its model under a stream of images."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from service.analysis.model_package import MANIFEST_FILE, Manifest
from service.analysis.model_store import ModelStore
from service.config import load_settings
from service.journal.records import ImageState
from service.scu import send_files
from service.still_image import wrap_pixels
from tests.analysis.conftest import speckle

SECONDS = 120
STUDIES = 24
IMAGES = 3


def versioned(source: Path, target: Path, version: str) -> Path:
    """The package once more under another version."""
    shutil.copytree(source, target)
    manifest = Manifest.model_validate_json((source / MANIFEST_FILE).read_text())
    changed = manifest.model_copy(update={"version": version})
    (target / MANIFEST_FILE).write_text(changed.model_dump_json())
    return target


def image_of(folder: Path, study: str, number: int) -> Path:
    image = wrap_pixels(speckle(96, 128, number), f"lifecycle {number}")
    image.ImageType = ["ORIGINAL", "PRIMARY", "BREAST", "0001"]
    image.StudyInstanceUID = study
    path = folder / f"{number}.dcm"
    image.save_as(path, enforce_file_format=True)
    return path


class Site:
    """The service with a second worker beside it, as on another host."""

    def __init__(self, service, folder: Path, free_port, eventually) -> None:
        self.service = service
        self.folder = folder
        self.eventually = eventually
        self.sent: dict[str, list[Path]] = defaultdict(list)
        service.ports["second"] = free_port()
        service.start()
        eventually(service.is_ready, SECONDS)
        self.second = subprocess.Popen(
            [*service.command("worker"), "--queue", "analysis", "--config", str(service.config)],
            env={
                **os.environ,
                "SECONDREAD_MONITORING__ANALYSIS_PORT": str(service.ports["second"]),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: service.works("second"), SECONDS)

    def send(self, study: str) -> None:
        path = image_of(self.folder, study, sum(map(len, self.sent.values())))
        self.sent[study].append(path)
        (outcome,) = send_files([path], self.service.peer, "SCANNER")
        assert outcome.stored

    def new_study(self) -> str:
        study = generate_uid()
        self.send(study)
        return study

    def command(self, *arguments: str) -> dict[str, Any]:
        """What ``secondread`` answers in JSON."""
        name, *rest = arguments
        words = [*self.service.command(name), *rest, "--json", "--config", self.service.config]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def versions(self, study: str) -> list[set[str]]:
        """Which models have scored its images, by edition; once all is done."""
        paths = self.sent[study]
        self.eventually(lambda: self._are_analysed(paths), SECONDS)
        results = [self.service.row(path).results for path in paths]
        editions = zip(*results, strict=True)
        return [{each.outcome.model_version for each in edition} for edition in editions]

    def _are_analysed(self, paths: list[Path]) -> bool:
        rows = [self.service.row(path) for path in paths]
        return all(row and row.state is ImageState.ANALYSED for row in rows)

    def gives_new_studies(self, version: str) -> bool:
        """Whether both workers do."""
        pages = [self.service.metrics(name) for name in ("analysis", "second")]
        wanted = re.compile(rf'^secondread_model\{{.*version="{version}".*\}} 1\.0$', re.MULTILINE)
        return all(wanted.search(page) for page in pages)

    def refused(self) -> float:
        return self.service.count("analysis", "secondread_model_refused")

    def end(self) -> None:
        self.second.kill()
        self.second.wait(10)


@pytest.fixture
def site(up, small_model, tmp_path, free_port, eventually):
    site = Site(up(small_model), tmp_path, free_port, eventually)
    yield site
    site.end()


def test_a_stream_of_images_is_scored_through_every_change(
    site, small_model, tmp_path: Path
) -> None:
    workers = site.service.children()["analysis"]
    first = site.new_study()
    assert site.versions(first) == [{"1"}]
    second = versioned(small_model, tmp_path / "2", "2")
    installed = site.command("model", "install", str(second))["sha256"]
    begun = [site.new_study() for _ in range(STUDIES)]

    def stream() -> None:
        for _ in range(IMAGES - 1):
            for study in begun:
                site.send(study)
                site.new_study()

    sending = threading.Thread(target=stream)
    sending.start()
    site.command("model", "activate", "undecided@2")
    sending.join()
    site.send(first)
    site.eventually(lambda: site.gives_new_studies("2"))
    last = site.new_study()
    used = {"active": "undecided 2", "canary": None, "problem": None}
    assert site.command("status")["model"] == used

    used = {study: site.versions(study) for study in site.sent}
    assert all(len(versions) == 1 for (versions,) in used.values()), "a study of two models"
    assert (used[first], used[last]) == ([{"1"}], [{"2"}])
    assert site.service.children()["analysis"] == workers, "nothing was started anew"

    store = ModelStore(load_settings(site.service.config))
    store.change(lambda state: state.model_copy(update={"active": "f" * 64}))
    site.eventually(lambda: site.refused() == 1)
    assert site.versions(site.new_study()) == [{"2"}], "the one before goes on"
    store.change(lambda state: state.model_copy(update={"active": installed}))
    site.eventually(lambda: site.refused() == 0)

    assert site.command("model", "rollback")["active"] is None
    site.eventually(lambda: site.gives_new_studies("1"))
    assert site.versions(site.new_study()) == [{"1"}]
    by_second = sum(versions == [{"2"}] for versions in used.values()) + 1
    assert site.command("reanalyse", "--since", "2020-01-01")["done"] == by_second
    assert site.versions(last) == [{"2"}, {"1"}]
