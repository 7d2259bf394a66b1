"""The page of a service that really runs: ``secondread up`` before an Orthanc, and a browser."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pydicom import dcmread
from pydicom.uid import generate_uid

from service.audit.messages import Message
from service.journal.records import ImageRow, ReceivedImage
from service.scu import send_files
from service.spool import image_key
from tests.conftest import REPOSITORY, chromium, running_orthanc, wait_until
from tests.system.conftest import Up, make_small_model

SCREENSHOTS = REPOSITORY / "build" / "web"
PASSWORD = "a password for tests"
BROWSER = ("--disable-quic", "--no-first-run", "--disable-background-networking")
WINDOW = {"width": 1440, "height": 900}
expect.set_options(timeout=20_000)


class Web:
    """``secondread up`` with accounts ``ann`` (operator) and ``vic`` (viewer)."""

    def __init__(self, up: Up, orthanc: Any) -> None:
        self.up = up
        self.orthanc = orthanc
        self.url = f"http://127.0.0.1:{up.ports['page']}"

    def account(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "service.cli", "account", *arguments]
        command += ["--config", str(self.up.config)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)

    def add(self, name: str, role: str, password: str = PASSWORD) -> None:
        told = self.account("add", name, "--role", role, "--password-stdin", stdin=f"{password}\n")
        assert told.returncode == 0, told.stderr

    def token(self, role: str) -> str:
        return self.account("token", f"{role}-token", "--role", role).stdout.strip()

    def session(self, name: str, password: str = PASSWORD) -> requests.Session:
        """Logged in, as a browser without scripts would be."""
        session = requests.Session()
        form = {"name": name, "password": password}
        answer = session.post(f"{self.url}/login", form, timeout=20)
        assert answer.status_code == 200, answer.text
        return session

    def csrf(self, session: requests.Session) -> str:
        text = session.get(f"{self.url}/status", timeout=20).text
        return text.partition('name="csrf" value="')[2].partition('"')[0]

    def send(self, *paths: Path) -> list[ImageRow]:
        """C-STORE, and wait until each is final."""
        send_files(list(paths), self.up.peer, "ROOM1", lambda _: None)
        wait_until(lambda: self.up.is_final(*paths), 60)
        rows = [self.up.row(path) for path in paths]
        return [row for row in rows if row is not None]

    def has_failed(self, path: Path) -> ImageRow:
        """An image whose analysis was given up, as a broken model would make it."""
        data_set = dcmread(path)
        meta = data_set.file_meta
        content = path.read_bytes()
        image = ReceivedImage(
            key=image_key(data_set.SOPInstanceUID, meta.TransferSyntaxUID, str(path)),
            sop_instance_uid=data_set.SOPInstanceUID,
            sop_class_uid=data_set.SOPClassUID,
            transfer_syntax_uid=meta.TransferSyntaxUID,
            digest=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            calling_ae_title="ROOM2",
            received_at=datetime.now(UTC),
            study_instance_uid=data_set.StudyInstanceUID,
        )
        temporary = self.up.spool.incoming / image.key
        temporary.write_bytes(content)
        self.up.spool.keep_image(image.key, temporary)
        self.up.journal.record_received(image)
        job = self.up.journal.lease_analysis(image.key, 60)
        assert job is not None
        self.up.journal.record_analysis_failure(job, "inference failed", None)
        row = self.up.journal.image(image.key)
        assert row is not None
        return row

    def audit(self) -> list[Message]:
        return [
            json.loads(line)
            for path in sorted((self.up.data_dir / "audit").glob("*.jsonl"))
            for line in path.read_text().splitlines()
            if line
        ]


@pytest.fixture(scope="session")
def made_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Path]]:
    """``made_of(count)``: so many images of one new study, made of a real ultrasound image."""

    def make(count: int = 1, **elements: object) -> list[Path]:
        folder, study = tmp_path_factory.mktemp("scanner"), generate_uid()
        data_set = dcmread(Path(pydicom.data.__file__).parent / "test_files/examples_palette.dcm")
        paths = []
        for number in range(count):
            data_set.StudyInstanceUID = study
            data_set.SOPInstanceUID = generate_uid()
            data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
            for keyword, value in elements.items():
                setattr(data_set, keyword, value)
            paths.append(folder / f"{number}.dcm")
            data_set.save_as(paths[-1])
        return paths

    return make


@pytest.fixture(scope="session")
def web(
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
) -> Iterator[Web]:
    with running_orthanc(tmp_path_factory.mktemp("pacs")) as orthanc:
        model = make_small_model(tmp_path_factory.mktemp("model"))
        (model / "model_card.md").write_text("# Undecided\n\nFor tests. <b>bold</b>\n")
        folder = tmp_path_factory.mktemp("up")
        up = Up(folder, free_port, model, [orthanc], ["web.failures = 3", "web.idle_minutes = 60"])
        web = Web(up, orthanc)
        web.add("ann", "operator")
        web.add("vic", "viewer")
        try:
            up.start()
            wait_until(up.is_ready, 60)
            yield web
        finally:
            if up.process is not None:
                up.process.terminate()
                up.process.wait(60)
            up.journal.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium(*BROWSER) as started:
        yield started


class Visitor:
    """A person before a browser of his own."""

    def __init__(self, context: BrowserContext, web: Web) -> None:
        self.page: Page = context.new_page()
        self.told: list[str] = []
        self.page.on("console", lambda line: self.told.append(line.text))
        self.page.on("pageerror", lambda error: self.told.append(str(error)))
        self.url = web.url

    def goes_to(self, path: str) -> Page:
        self.page.goto(self.url + path, wait_until="networkidle")
        return self.page

    def logs_in(self, name: str, password: str = PASSWORD) -> Page:
        self.goes_to("/login")
        self.page.fill("#name", name)
        self.page.fill("#password", password)
        self.page.click("form[action='/login'] button")
        self.page.wait_for_load_state("networkidle")
        return self.page

    def keeps(self, name: str) -> None:
        """A picture for people, in ``build/web``."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


@pytest.fixture(scope="session")
def visiting(browser: Browser, web: Web) -> Callable[..., Any]:
    """``with visiting() as visitor``: a browser that knows nobody yet."""

    @contextmanager
    def opened(**options: Any) -> Iterator[Visitor]:
        context = browser.new_context(viewport=WINDOW, **{"locale": "en-GB", **options})
        context.set_default_timeout(30_000)
        try:
            yield Visitor(context, web)
        finally:
            context.close()

    return opened
