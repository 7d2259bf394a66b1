"""The REST API: what it tells, whom it tells it, and that its description is true."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from service.journal.records import ImageRow, ImageState
from service.results import PICTURE_FILE


class Client:
    """A program with a token."""

    def __init__(self, url: str, token: str) -> None:
        self.url = f"{url}/api/v1"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **query: object) -> requests.Response:
        return requests.get(self.url + path, params=query, headers=self._headers, timeout=20)

    def post(self, path: str, body: object = None) -> requests.Response:
        return requests.post(self.url + path, json=body, headers=self._headers, timeout=20)


@pytest.fixture(scope="module")
def viewer(web: Any) -> Client:
    return Client(web.url, web.token("viewer"))


@pytest.fixture(scope="module")
def operator(web: Any) -> Client:
    return Client(web.url, web.token("operator"))


@pytest.fixture(scope="module")
def row(web: Any, made_of: Any) -> ImageRow:
    """A scored image."""
    (sent,) = web.send(*made_of(1))
    return sent


def test_without_a_token_there_is_nothing(web: Any, row: ImageRow) -> None:
    for token in ("", "x", "Bearer"):
        stranger = Client(web.url, token)
        for path in ("/status", "/images", f"/images/{row.key}", f"/images/{row.key}/source.png"):
            answer = stranger.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.json() == {"title": "log in first", "status": 401}
        assert stranger.post(f"/images/{row.key}/withdraw", {"reason": "x"}).status_code == 401


def test_status_and_images(web: Any, viewer: Client, row: ImageRow) -> None:
    status = viewer.get("/status").json()
    assert status["images"]["delivered"] >= 1
    assert status["deliveries"]["pacs-0"]["delivered"] >= 1
    listed = viewer.get("/images", state="delivered", scanner="ROOM1", limit=500).json()
    (brief,) = [each for each in listed if each["key"] == row.key]
    assert brief["probability_malignant"] == 0.5
    assert row.sop_instance_uid not in str(listed)
    details = viewer.get(f"/images/{row.key}").json()
    assert details["sop_instance_uid"] == row.sop_instance_uid
    assert details["deliveries"][0]["state"] == "delivered"
    assert details["results"][0]["stage_seconds"].keys() >= {"decode", "inference", "report"}


def test_a_list_goes_on(viewer: Client, row: ImageRow, web: Any, made_of: Any) -> None:
    web.send(*made_of(3))
    whole = [each["key"] for each in viewer.get("/images", limit=500).json()]
    pieces: list[str] = []
    position: dict[str, str] = {}
    while piece := viewer.get("/images", limit=2, **position).json():
        pieces += [each["key"] for each in piece]
        position = {"after_time": piece[-1]["received_at"], "after_key": piece[-1]["key"]}
    assert pieces == whole
    assert len(set(pieces)) == len(pieces)


def test_the_pictures_are_the_pictures(web: Any, viewer: Client, row: ImageRow) -> None:
    overlay = viewer.get(f"/images/{row.key}/overlay.png")
    kept = web.up.spool.results_folder(row.parcel) / PICTURE_FILE
    assert overlay.content == kept.read_bytes()
    source = viewer.get(f"/images/{row.key}/source.png")
    assert source.headers["Content-Type"] == "image/png"
    shown, drawn = (
        np.asarray(Image.open(BytesIO(content)).convert("RGB"))
        for content in (source.content, overlay.content)
    )
    left, top, right, bottom = row.outcome.region
    outside = np.ones(shown.shape[:2], dtype=bool)
    outside[max(top - 3, 0) : bottom + 3, max(left - 3, 0) : right + 3] = False
    same = drawn[: shown.shape[0], : shown.shape[1]]
    assert (same[outside] == shown[outside]).all(), "the overlay is drawn on this very picture"
    small = Image.open(BytesIO(viewer.get(f"/images/{row.key}/thumbnail.jpg").content))
    assert max(small.size) == 192


def test_roles_hold(web: Any, viewer: Client, operator: Client, made_of: Any) -> None:
    (row,) = web.send(*made_of(1))
    why = {"reason": "Wrong breast"}
    refused = viewer.post(f"/images/{row.key}/withdraw", why)
    assert refused.status_code == 403
    assert refused.json()["title"] == "only operators may do that"
    assert operator.post(f"/images/{row.key}/replay").json()["title"] == "it has not failed"
    assert operator.post(f"/images/{row.key}/withdraw", {"reason": " "}).status_code == 422
    assert operator.post(f"/images/{row.key}/withdraw", why).json() == {"done": 1}
    assert web.up.journal.image(row.key).outcome.state is ImageState.WITHDRAWN
    assert viewer.get(f"/images/{row.key}/overlay.png").status_code == 404


def test_a_browsers_session_needs_the_pages_token(web: Any, row: ImageRow) -> None:
    """For a browser sends its cookie also where another site's script asks for it."""
    session = web.session("ann")
    path = f"{web.url}/api/v1/images/{row.key}/replay"
    assert session.post(path, timeout=20).status_code == 403
    headers = {"X-CSRF-Token": web.csrf(session)}
    assert session.post(path, headers=headers, timeout=20).status_code == 409


def test_schemathesis_finds_nothing(
    web: Any, operator: Client, row: ImageRow, made_of: Any, tmp_path: Path
) -> None:
    """Random and hostile requests by the description: each answer is one that it promises."""
    (ordered,) = web.send(*made_of(1))
    config = tmp_path / "schemathesis.toml"
    # The orders among the requests withdraw the result of the one, not of the other.
    lines = ["[parameters]", f'"path.key" = "{ordered.key}"']
    for name in ("", "/source.png", "/overlay.png", "/thumbnail.jpg"):
        lines += ["[[operations]]", f'include-path = "/api/v1/images/{{key}}{name}"']
        lines.append(f'parameters = {{ "path.key" = "{row.key}" }}')
    config.write_text("\n".join(lines))
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"),
        *(
            f"{web.url}/api/openapi.json",
            "--header",
            f"Authorization: {operator._headers['Authorization']}",
        ),
        *("--checks", "all", "--max-examples", "40", "--seed", "1", "--no-color"),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280
    )
    assert "Warnings" not in done.stdout, done.stdout[-6000:]
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
