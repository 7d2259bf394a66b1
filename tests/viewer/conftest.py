"""OHIF as a radiologist has it: in a browser, in front of an Orthanc that keeps our results.

Web page and DICOMweb come from one origin on loopback, so no browser rule is bent for the test.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from tests.conftest import chromium

REPOSITORY = Path(__file__).resolve().parents[2]
OHIF = REPOSITORY / "build" / "ohif"
SCREENSHOTS = REPOSITORY / "build" / "viewer"
SCREENSHOT_WIDTH = 1200
_FAR_AWAY = 10_000
"""Pixels of the screen."""

# A browser's page on a full HD screen.
WINDOW = {"width": 1920, "height": 940}
BROWSER = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Two cores without a GPU, which other tests may share: a first viewport takes up to 30 s.
PATIENCE = 90.0

CONFIGURATION = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "maxNumberOfWebWorkers": 2,
    "showCPUFallbackMessage": True,
    "strictZSpacingForVolumeViewport": True,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "orthanc",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "orthanc",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "orthanc",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "qidoSupportsIncludeField": True,
                "supportsWildcard": True,
                "omitQuotationForMultipartRequest": True,
                "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
            },
        }
    ],
}


class Site(ThreadingHTTPServer):
    """OHIF's files at the root of one origin, and an Orthanc's DICOMweb at ``/dicom-web/``."""

    daemon_threads = True

    def __init__(self, folder: Path, orthanc_url: str) -> None:
        self.folder = folder
        self.orthanc = urlsplit(orthanc_url).netloc
        super().__init__(("127.0.0.1", 0), _Request)
        self.origin = f"http://127.0.0.1:{self.server_port}"


class _Request(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def __init__(self, request: Any, client: Any, site: Site) -> None:
        super().__init__(request, client, site, directory=str(site.folder))

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/dicom-web/"):
            self._ask_orthanc()
        elif path == "/app-config.js":
            script = f"window.config = {json.dumps(CONFIGURATION)};"
            self._answer(200, "text/javascript", script.encode())
        else:
            if not (self.server.folder / path.lstrip("/")).is_file():
                self.path = "/index.html"  # an address inside the single-page application
            super().do_GET()

    def _ask_orthanc(self) -> None:
        """Orthanc writes its absolute addresses with the Host that it was asked as: ours."""
        headers = {name: self.headers[name] for name in ("Host", "Accept") if name in self.headers}
        with closing(http.client.HTTPConnection(self.server.orthanc, timeout=60)) as connection:
            connection.request("GET", self.path, headers=headers)
            response = connection.getresponse()
            kind = response.getheader("Content-Type", "application/octet-stream")
            self._answer(response.status, kind, response.read())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the viewport: ``offset + scale * (column, row)`` in its pixels."""

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]

    def of(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(n, 2)`` columns and rows of the picture to x and y in the viewport."""
        return self.offset + self.scale * points


class Viewer:
    """One page of OHIF; what it tells is what the page shows."""

    def __init__(self, page: Page, origin: str, eventually: Callable[..., None]) -> None:
        self.page = page
        self._origin = origin
        self._eventually = eventually
        page.set_default_timeout(1000 * PATIENCE)
        # The introduction for a first visitor would cover the image.
        page.add_init_script("localStorage.setItem('shownTours', '[\"basicViewerTour\"]')")

    def part(self, name: str) -> Locator:
        """What OHIF marks for tests as ``name``."""
        return self.page.locator(f'[data-cy="{name}"]')

    def wait_until(self, condition: Callable[[], object]) -> None:
        self._eventually(condition, PATIENCE)

    def study_row(self, patient: str) -> str:
        """What the list of studies tells of the patient's one."""
        self.page.goto(self._origin)
        return self.page.locator("tbody tr").filter(has_text=patient).inner_text()

    def open_study(self, study_instance_uid: str) -> None:
        query = urlencode({"StudyInstanceUIDs": study_instance_uid})
        self.page.goto(f"{self._origin}/viewer?{query}")
        self.page.locator("canvas").first.wait_for()

    def series(self) -> list[str]:
        """Modality and description of each series that is offered."""
        modalities = self.part("series-modality-label").all_inner_texts()
        descriptions = self.part("series-description-label").all_text_contents()
        return [f"{a} {b}".strip() for a, b in zip(modalities, descriptions, strict=True)]

    def open_series(self, description: str) -> None:
        self.page.get_by_text(description, exact=True).first.dblclick()

    def answer(self, question: str, button: str) -> None:
        """Answer what OHIF asks above the image."""
        self.part("viewport-notification").filter(has_text=question).wait_for()
        self.part(f"{button}-hydrate-btn").click()
        self.part("viewport-notification").wait_for(state="detached")

    def viewport(self) -> NDArray[np.uint8]:
        """The viewport as the screen shows it, ``(h, w, 3)`` RGB."""
        picture = self.page.screenshot(clip=self._viewport_box())
        return np.asarray(Image.open(BytesIO(picture)).convert("RGB"))

    def placement(self) -> Placement | None:
        """How the viewer has laid the present image; None while there is none."""
        corners = self.page.evaluate(
            """() => {
                const viewport = cornerstone.getRenderingEngines()[0]?.getViewports()[0];
                const image = viewport?.getCurrentImageId?.();
                const { imageToWorldCoords } = cornerstone.utilities;
                return image && [[0, 0], [100, 100]].map(
                    point => viewport.worldToCanvas(imageToWorldCoords(image, point)));
            }"""
        )
        if not corners:
            return None
        origin, hundred = np.array(corners, dtype=np.float64)
        return Placement(origin, (hundred - origin) / 100)

    def picture(self, rows: int, columns: int) -> NDArray[np.uint8] | None:
        """The image as the screen shows it, at its own size ``(rows, columns, 3)`` RGB."""
        placement = self.placement()
        if placement is None:
            return None
        corners = placement.of(np.array([[0, 0], [columns, rows]], dtype=np.float64))
        if np.abs(corners).max() > _FAR_AWAY:
            return None  # not laid out yet
        (left, top), (right, bottom) = np.round(corners).astype(int).tolist()
        shown = Image.fromarray(self.viewport()).crop((left, top, right, bottom))
        return np.asarray(shown.resize((columns, rows), Image.Resampling.BOX))

    def outlines(self) -> list[NDArray[np.float64]]:
        """The lines that are drawn over the image, each ``(n, 2)`` x and y in the viewport."""
        self._redraw()
        texts = self.page.eval_on_selector_all(
            ".svg-layer polyline", "lines => lines.map(line => line.getAttribute('points'))"
        )
        return [
            np.array(text.replace(",", " ").split(), dtype=float).reshape(-1, 2) for text in texts
        ]

    def captions(self) -> list[str]:
        """The lines of text over the image that lie wholly inside the viewport."""
        self._redraw()
        box = self._viewport_box()
        lines = self.page.eval_on_selector_all(
            ".svg-layer text tspan",
            """spans => spans.map(span => {
                const { left, top, right, bottom } = span.getBoundingClientRect();
                return [span.textContent, left, top, right, bottom];
            })""",
        )
        return [
            text
            for text, left, top, right, bottom in lines
            if left >= box["x"]
            and top >= box["y"]
            and right <= box["x"] + box["width"]
            and bottom <= box["y"] + box["height"]
        ]

    def keep_screenshot(self, name: str) -> None:
        """As ``build/viewer/NAME.png``, for people."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self._redraw()
        picture = Image.open(BytesIO(self.page.screenshot())).convert("RGB")
        height = round(picture.height * SCREENSHOT_WIDTH / picture.width)
        smaller = picture.resize((SCREENSHOT_WIDTH, height), Image.Resampling.LANCZOS)
        smaller.save(SCREENSHOTS / f"{name}.png", optimize=True)

    def _redraw(self) -> None:
        """As the next turn of the wheel would.

        OHIF 3.13 may learn whose lines a viewport is to show after it has drawn it. Then they
        appear with its next picture, and those of another report stay until then.
        """
        self.page.evaluate(
            """() => new Promise(drawn => {
                cornerstone.getRenderingEngines()[0].render();
                requestAnimationFrame(() => requestAnimationFrame(drawn));
            })"""
        )

    def _viewport_box(self) -> Any:
        """x, y, width and height on the page in whole pixels."""
        box = self.page.locator(".cornerstone-viewport-element").first.bounding_box()
        assert box is not None, "there is no viewport"
        return {name: int(value) for name, value in box.items()}


@pytest.fixture(scope="module")
def ohif(shared_orthanc: Any) -> Iterator[str]:
    """OHIF's origin in front of ``shared_orthanc``."""
    if not (OHIF / "index.html").is_file():
        pytest.fail("OHIF is not in build/ohif; `make test` puts it there")
    site = Site(OHIF, shared_orthanc.url)
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    yield site.origin
    site.shutdown()
    thread.join()
    site.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(*BROWSER) as started:
        yield started


@pytest.fixture(scope="module")
def open_viewer(browser: Browser, ohif: str, eventually: Callable[..., None]) -> Callable[[], Any]:
    """``with open_viewer() as viewer``: a page of its own."""

    @contextmanager
    def opened() -> Iterator[Viewer]:
        context = browser.new_context(viewport=WINDOW)
        try:
            yield Viewer(context.new_page(), ohif, eventually)
        finally:
            context.close()

    return opened
