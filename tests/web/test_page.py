"""The page as people use it, in Chromium, and what it lets nobody do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from service.analysis.model_store import Canary, ModelStore, State
from service.audit.messages import pseudonym
from service.config import load_settings
from service.journal.records import ImageRow, ImageState


@pytest.fixture(scope="module")
def study(web: Any, made_of: Any) -> list[ImageRow]:
    """Two scored images of one study."""
    rows = web.send(*made_of(2))
    assert [row.state for row in rows] == [ImageState.DELIVERED] * 2
    return rows


@pytest.fixture(scope="module")
def doppler(web: Any) -> ImageRow:
    """One image that is not analysed."""
    (row,) = web.send(Path(pydicom.data.__file__).parent / "test_files/examples_rgb_color.dcm")
    return row


def accesses(web: Any, action: str, row: ImageRow) -> list[str]:
    """Who is said to have seen (R) or changed (U) an image."""
    return [
        message["ActiveParticipant"][0]["UserID"]
        for message in web.audit()
        if message["EventIdentification"]["EventID"]["csd-code"] == "110103"
        and message["EventIdentification"]["EventActionCode"] == action
        and pseudonym(row.sop_instance_uid) in str(message)
    ]


def test_nothing_is_shown_to_strangers(web: Any, study: list[ImageRow]) -> None:
    key = study[0].key
    for path in ("/", "/status", "/model", f"/images/{key}", f"/images/{key}/study"):
        answer = requests.get(web.url + path, allow_redirects=False, timeout=20)
        assert answer.status_code == 303, path
        assert answer.headers["Location"].startswith("/login?next=")
        assert key not in answer.text
    for path in (f"/images/{key}/replay", "/replay-failed", "/search", "/status/look"):
        answer = requests.post(
            web.url + path, {"csrf": "x", "words": key}, allow_redirects=False, timeout=20
        )
        assert answer.status_code == 303, path
        assert answer.headers["Location"].startswith("/login")


def test_a_person_logs_in_sees_and_logs_out(web: Any, study: list[ImageRow], visiting: Any) -> None:
    with visiting() as visitor:
        page = visitor.goes_to(f"/images/{study[0].key}")
        expect(page).to_have_url(re.compile("/login"))
        visitor.keeps("login")
        page.fill("#name", "vic")
        page.fill("#password", "a password for tests")
        page.press("#password", "Enter")
        expect(page).to_have_url(re.compile(f"/images/{study[0].key}"))
        page.click("text=Log out")
        expect(page).to_have_url(re.compile("/login"))
        visitor.goes_to("/")
        expect(page).to_have_url(re.compile("/login"))
        assert visitor.told == []


def test_an_image_with_its_overlay_and_its_way(
    web: Any, study: list[ImageRow], visiting: Any
) -> None:
    row = study[0]
    with visiting() as visitor:
        page = visitor.logs_in("vic")
        card = page.locator(f"#image-{row.key}")
        expect(card).to_contain_text("0.500")
        expect(card).to_contain_text("delivered")
        width = card.locator("img").evaluate("each => each.naturalWidth")
        assert width == 192 or card.locator("img").evaluate("each => each.naturalHeight") == 192
        visitor.keeps("images")
        card.locator("a").click()
        page.wait_for_load_state("networkidle")
        for name in ("source", "overlay"):
            assert page.locator(f".stack .{name}").evaluate("each => each.naturalWidth") > 100
        steps = page.locator("#steps")
        for step in ("received", "decode", "inference", "result kept", "delivered"):
            expect(steps.get_by_role("row").filter(has_text=step).first).to_be_visible()
        expect(steps).to_contain_text("pacs-0: sr.dcm, sc.dcm")
        visitor.keeps("image")
        assert visitor.told == []
    assert "vic" in accesses(web, "R", row)


def test_source_and_overlay_lie_on_one_another(study: list[ImageRow], visiting: Any) -> None:
    with visiting() as visitor:
        visitor.logs_in("vic")
        page = visitor.goes_to(f"/images/{study[0].key}")
        places = page.evaluate(
            """() => ["source", "overlay"].map(name => {
                const each = document.querySelector(".stack ." + name);
                const box = each.getBoundingClientRect();
                return [box.left, box.top, box.width / each.naturalWidth];
            })"""
        )
        assert places[0] == places[1]
        assert places[0][2] == 1


def test_the_slider_takes_the_overlay_away(study: list[ImageRow], visiting: Any) -> None:
    with visiting() as visitor:
        visitor.logs_in("vic")
        page = visitor.goes_to(f"/images/{study[0].key}")
        with_overlay = page.locator(".stack").screenshot()
        page.focus("#opacity")
        page.keyboard.press("Home")
        expect(page.locator("#opacity-value")).to_have_text("0 %")
        assert page.locator("#overlay").evaluate("each => getComputedStyle(each).opacity") == "0"
        assert page.locator(".stack").screenshot() != with_overlay
        page.keyboard.press("ArrowRight")
        expect(page.locator("#opacity-value")).to_have_text("5 %")


def test_filters_choose(web: Any, study: list[ImageRow], doppler: ImageRow, visiting: Any) -> None:
    with visiting() as visitor:
        page = visitor.logs_in("vic")
        scored, refused = page.locator(f"#image-{study[0].key}"), f"#image-{doppler.key}"
        expect(page.locator(refused)).to_contain_text(doppler.outcome.reason)
        page.select_option("[name=decision]", "malignant")
        page.click("text=Show")
        expect(scored).to_be_visible()
        expect(page.locator(refused)).to_have_count(0)
        page.click("text=Reset")
        page.select_option("[name=scanner]", "ROOM1")
        page.fill("[name=since]", "2001-01-01")
        page.fill("[name=until]", "2001-01-02")
        page.click("text=Show")
        expect(page.get_by_text("There are no such images.")).to_be_visible()


def test_a_list_goes_on_where_its_page_ends(
    web: Any, made_of: Any, study: list[ImageRow], visiting: Any
) -> None:
    web.send(*made_of(50))
    with visiting() as visitor:
        page = visitor.logs_in("vic")
        first = {each.get_attribute("id") for each in page.locator(".card").all()}
        assert len(first) == 48
        page.click("text=Older")
        page.wait_for_load_state("networkidle")
        second = {each.get_attribute("id") for each in page.locator(".card").all()}
        assert second
        assert not first & second
        assert {f"image-{row.key}" for row in study} <= second
        page.click("text=Newest")
        page.wait_for_load_state("networkidle")
        assert {each.get_attribute("id") for each in page.locator(".card").all()} == first


@pytest.mark.parametrize("handle", ["key", "beginning", "sop", "study", "result", "pseudonym"])
def test_search_by_whatever_is_at_hand(
    web: Any, study: list[ImageRow], visiting: Any, handle: str
) -> None:
    row = study[1]
    words = {
        "key": row.key,
        "beginning": row.key[:10],
        "sop": row.sop_instance_uid,
        "study": row.study_instance_uid,
        "result": row.results[-1].outcome.uids[0],
        "pseudonym": pseudonym(row.sop_instance_uid),
    }
    with visiting() as visitor:
        page = visitor.logs_in("vic")
        page.fill("#words", words[handle])
        page.press("#words", "Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text(
            "Study" if handle == "study" else row.key[:12]
        )
        if handle == "study":
            expect(page.locator(".card")).to_have_count(2)
        assert words["sop"] not in page.url


def test_what_is_not_there_is_said(visiting: Any) -> None:
    with visiting() as visitor:
        page = visitor.logs_in("vic")
        page.fill("#words", "1.2.3.4.5")
        page.press("#words", "Enter")
        expect(page.get_by_role("alert")).to_have_text("nothing was found")
        visitor.goes_to("/images/" + 32 * "0")
        expect(page.get_by_role("alert")).to_have_text("no such image in the journal")


def test_the_page_shows_by_itself_what_is_new(web: Any, made_of: Any, visiting: Any) -> None:
    with visiting() as visitor:
        page = visitor.logs_in("vic")
        page.wait_for_timeout(500)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        (row,) = web.send(*made_of(1))
        card = page.locator(f"#image-{row.key}")
        expect(card).to_be_visible(timeout=15_000)
        expect(card).to_contain_text("delivered", timeout=15_000)
        pictures = [url for url in asked if "thumbnail" in url]
        assert all(row.key in url for url in pictures), "those that were there stay"
        assert visitor.told == []


def test_viewers_order_nothing(web: Any, study: list[ImageRow], visiting: Any) -> None:
    row = study[0]
    with visiting() as visitor:
        visitor.logs_in("vic")
        page = visitor.goes_to(f"/images/{row.key}")
        expect(page.get_by_role("heading", name="Orders")).to_have_count(0)
    session = web.session("vic")
    form = {"csrf": web.csrf(session), "reason": "wrong"}
    assert form["csrf"]
    for path in (f"/images/{row.key}/withdraw", "/replay-failed", "/status/look"):
        assert session.post(web.url + path, form, timeout=20).status_code == 403
    assert web.up.journal.image(row.key) == row


def test_an_operator_withdraws(web: Any, made_of: Any, visiting: Any, eventually: Any) -> None:
    (row,) = web.send(*made_of(1))
    with visiting() as visitor:
        visitor.logs_in("ann")
        page = visitor.goes_to(f"/images/{row.key}")
        page.click("text=Withdraw the result")
        assert not page.locator("#reason").evaluate("each => each.validity.valid"), "say why"
        page.fill("#reason", "Wrong breast")
        page.check("[name=patient_safety]")
        page.click("text=Withdraw the result")
        expect(page.locator("#result")).to_contain_text("withdrawn")
        expect(page.locator("#overlay")).to_have_count(0)
        visitor.keeps("withdrawn")
    study_uid = row.study_instance_uid
    eventually(lambda: web.orthanc.find("Series", StudyInstanceUID=study_uid, Modality="KO"), 30)
    assert accesses(web, "U", row) == ["ann"]


def test_an_operator_replays_what_failed(
    web: Any, made_of: Any, visiting: Any, eventually: Any
) -> None:
    paths = made_of(2)
    rows = [web.has_failed(path) for path in paths]
    with visiting() as visitor:
        page = visitor.logs_in("ann")
        expect(page.locator("#failures")).to_contain_text("Failed images: 2")
        page.click("text=Show them")
        expect(page.locator(".card")).to_have_count(2)
        visitor.keeps("failed")
        page.click(f"#image-{rows[0].key} a")
        expect(page.locator("#result")).to_contain_text("inference failed")
        page.click("text=Replay")
        expect(page.locator("#result")).to_contain_text("delivered", timeout=60_000)
        expect(page.locator("#result")).not_to_contain_text("failed")
        assert web.up.row(paths[0]).state is ImageState.DELIVERED
        assert web.up.row(paths[1]).state is ImageState.FAILED
        visitor.goes_to("/")
        page.click("text=Replay all that failed")
        eventually(lambda: web.up.row(paths[1]).state is ImageState.DELIVERED, 60)
        expect(page.locator(".alarm")).to_have_count(0, timeout=15_000)
    assert accesses(web, "U", rows[0]) == ["ann"]


def test_an_order_that_does_not_fit_is_answered(study: list[ImageRow], visiting: Any) -> None:
    with visiting() as visitor:
        visitor.logs_in("ann")
        page = visitor.goes_to(f"/images/{study[0].key}")
        page.click("text=Analyse again")
        expect(page.get_by_role("alert")).to_contain_text("this model has said it already")


def test_a_form_of_another_site_is_refused(web: Any, study: list[ImageRow]) -> None:
    session = web.session("ann")
    path = f"{web.url}/images/{study[0].key}/withdraw"
    right = {"csrf": web.csrf(session), "reason": "x"}
    assert session.post(path, {**right, "csrf": "y"}, timeout=20).status_code == 403
    assert session.post(path, {"reason": "x"}, timeout=20).status_code == 422
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert session.post(path, right, headers=headers, timeout=20).status_code == 403
    assert web.up.journal.image(study[0].key) == study[0]


def test_guessing_is_locked_out_and_recorded(web: Any) -> None:
    web.add("gus", "viewer")
    form = {"name": "gus", "password": "wrong wrong wrong"}
    codes = [requests.post(f"{web.url}/login", form, timeout=20).status_code for _ in range(4)]
    assert codes == [403, 403, 403, 429]
    right = {"name": "gus", "password": "a password for tests"}
    assert requests.post(f"{web.url}/login", right, timeout=20).status_code == 429
    tries = [
        message["EventIdentification"].get("EventOutcomeDescription", {}).get("text")
        for message in web.audit()
        if message["ActiveParticipant"][0]["UserID"] == "gus"
    ]
    assert tries == ["failed"] * 3 + ["locked"] * 2
    assert web.up.count("web", "secondread_logins_total", outcome="locked") >= 2
    assert web.session("ann").get(web.url, timeout=20).status_code == 200, "others get in"


def test_a_session_ends_with_its_account(web: Any) -> None:
    web.add("eve", "operator")
    session = web.session("eve")
    assert "Log out" in session.get(web.url, timeout=20).text
    web.add("eve", "viewer", "another password")
    assert "Log out" not in session.get(web.url, timeout=20).text
    assert web.account("remove", "eve").returncode == 0


def test_a_login_leads_nowhere_else(web: Any) -> None:
    for path in ("https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:1"):
        form = {"name": "vic", "password": "a password for tests", "next": path}
        answer = requests.post(f"{web.url}/login", form, allow_redirects=False, timeout=20)
        assert answer.headers["Location"] == "/", path


def test_every_answer_is_guarded(web: Any, study: list[ImageRow]) -> None:
    session = web.session("vic")
    for path in ("/", "/login", "/static/page.js", "/api/v1/status", "/nothing", "/api/nothing"):
        headers = session.get(web.url + path, timeout=20).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"], path
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
    answer = requests.post(
        f"{web.url}/login",
        {"name": "vic", "password": "a password for tests"},
        allow_redirects=False,
        timeout=20,
    )
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    too_much = {"words": "x" * 100_000}
    assert session.post(f"{web.url}/search", too_much, timeout=20).status_code == 413
    pieces = (b"words=" + b"x" * 10_000 for _ in range(10))
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = session.post(f"{web.url}/search", pieces, headers=kind, timeout=20)
    assert answer.status_code == 413


def test_a_model_card_brings_no_html(visiting: Any) -> None:
    with visiting() as visitor:
        visitor.logs_in("vic")
        page = visitor.goes_to("/model")
        expect(page.locator(".prose")).to_contain_text("<b>bold</b>")
        expect(page.get_by_text("undecided 1")).to_be_visible()


def test_the_page_tells_since_when_a_model_is_active_and_which_is_the_canary(
    web: Any, visiting: Any
) -> None:
    settings = load_settings(web.up.config)
    store = ModelStore(settings)
    sha256 = store.install(settings.analysis.model, lambda _: None).sha256
    canary = Canary(model=sha256, share=0.1, scanners=("ROOM1",))
    store.change(lambda _: State(activated_at=datetime(2026, 1, 2, tzinfo=UTC), canary=canary))
    try:
        with visiting() as visitor:
            visitor.logs_in("vic")
            page = visitor.goes_to("/model")
            expect(page.get_by_text("Active since")).to_be_visible()
            expect(page.get_by_text("undecided 1, 10 %, ROOM1")).to_be_visible()
    finally:
        store.change(lambda _: State())


def test_destinations_are_asked(web: Any, visiting: Any) -> None:
    with visiting() as visitor:
        visitor.logs_in("ann")
        page = visitor.goes_to("/status")
        expect(page.locator("#destinations-table")).to_contain_text("pacs-0")
        page.click("text=Ask each whether it is there")
        expect(page.get_by_role("status")).to_contain_text("answers C-ECHO")
        visitor.keeps("status")


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_everybody_can_read_it(
    web: Any, study: list[ImageRow], doppler: ImageRow, visiting: Any, locale: str
) -> None:
    """No finding of axe on any page, and everything of one language."""
    key = study[0].key
    with visiting(locale=locale) as visitor:
        page = visitor.goes_to("/login")
        assert Axe().run(page).violations_count == 0
        visitor.logs_in("ann")
        for path in (
            *("/", "/status", "/model", f"/images/{key}", f"/images/{key}/study"),
            *(f"/images/{doppler.key}", "/?state=failed", "/images/" + 32 * "0"),
        ):
            visitor.goes_to(path)
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
            assert page.locator("html").get_attribute("lang") == (
                "zh-Hans" if locale == "zh-CN" else "en"
            )
        if locale == "zh-CN":
            visitor.goes_to("/")
            visitor.keeps("images-chinese")
            page.click("button[name=language][value=en]")
            expect(page.get_by_role("heading", level=1)).to_have_text("Images")


def test_it_works_without_a_mouse(study: list[ImageRow], visiting: Any) -> None:
    """From the skip link on, everything that can be clicked is reached by Tab."""
    with visiting() as visitor:
        visitor.logs_in("ann")
        page = visitor.goes_to(f"/images/{study[0].key}")
        wanted = page.evaluate(
            """() => [...document.querySelectorAll(
                "a, button, input:not([type=hidden]), select, [tabindex='0']")].length"""
        )
        page.evaluate("() => document.activeElement.blur()")
        seen = set()
        for _ in range(wanted + 5):
            page.keyboard.press("Tab")
            seen.add(
                page.evaluate(
                    """() => [...document.querySelectorAll("*")].indexOf(document.activeElement)"""
                )
            )
        assert len(seen) >= wanted


def test_it_works_without_scripts(web: Any, study: list[ImageRow], visiting: Any) -> None:
    with visiting(java_script_enabled=False) as visitor:
        page = visitor.logs_in("vic")
        page.fill("#words", study[0].key)
        page.click("text=Find")
        expect(page.locator("#overlay")).to_be_visible()
