"""Results reach a PACS through STOW-RS, and what goes wrong is told as it is for C-STORE."""

from __future__ import annotations

import logging
import ssl
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import trustme
from pydantic import SecretStr

from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.part10 import part10_bytes
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from service.delivery.policy import Verdict, judge
from service.oauth2 import OAuth2ClientCredentials
from service.scu import AssociationFailed, UnreadableFile
from service.stow import Basic, StowClient, StowOutcome, StowPeer

from .dicomweb import (
    Request,
    Response,
    TokenIssuer,
    WebServer,
    basic,
    forward,
    guarded,
    store_response,
)

PASSWORD = "pässword 王+%"
SECRET = "s3cr+t/wïth %"


@pytest.fixture(scope="module")
def contents(us_dicom: Path) -> dict[str, bytes]:
    """SR and SC of a real image as Part 10 files."""
    source = pydicom.dcmread(us_dicom / "breast" / "uta4_p1_d045f565_IM128.dcm")
    source.PatientName = "王^小红"
    box = Box(0, 0, source.Columns, source.Rows)
    cam = np.zeros((box.height, box.width), dtype=np.float32)
    cam[100:200, 100:200] = 1
    finding = Finding(1, 1, box, "whole frame", 0.7, 0.3, 0.5, cam)
    model = ModelIdentity("ResNet50", "1", "ab" * 32, ())
    when = {"revision": 0, "started_at": datetime(2026, 3, 1, 12, tzinfo=UTC)}
    overlay = np.zeros((source.Rows + 40, source.Columns, 3), dtype=np.uint8)
    return {
        "sr.dcm": part10_bytes(build_report(source, finding, model, **when)),
        "sc.dcm": part10_bytes(build_secondary_capture(source, overlay, finding, model, **when)),
    }


@pytest.fixture
def files(contents: dict[str, bytes], tmp_path: Path) -> list[Path]:
    """The same on disk."""
    paths = [tmp_path / name for name in contents]
    for path in paths:
        path.write_bytes(contents[path.name])
    return paths


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The hospital's own certificate authority."""
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA, tmp_path: Path) -> dict[str, Path]:
    """What a peer needs to trust it."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return {"ca_file": path}


@pytest.fixture
def serve(authority: trustme.CA) -> Iterator[Callable[..., WebServer]]:
    """``serve(answer, tls=True, client_certificate=False)``."""
    running: list[WebServer] = []

    def start(
        answer: Callable[[Request], Response], tls: bool = True, client_certificate: bool = False
    ) -> WebServer:
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(context)
        if context and client_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            authority.configure_trust(context)
        server = WebServer(answer, context)
        running.append(server)
        return server

    yield start
    for server in running:
        server.close()


@pytest.fixture
def moody(serve: Callable[..., WebServer]) -> Callable[..., StowPeer]:
    """``moody(status, body)``: a server that answers so, as a peer."""

    def start(status: int, body: bytes = b"", **more: str) -> StowPeer:
        server = serve(lambda request: Response(status, body, **more), tls=False)
        return StowPeer(server.url + "/dicom-web")

    return start


def uid_of(content: bytes) -> str:
    return str(pydicom.dcmread(BytesIO(content)).SOPInstanceUID)


def verdicts(outcomes: list[StowOutcome]) -> list[Verdict]:
    return [judge(outcome) for outcome in outcomes]


def failure(peer: StowPeer, objects: list[Path]) -> str:
    """Why nothing could be stored."""
    with pytest.raises(AssociationFailed) as raised:
        StowClient(peer).store(objects)
    return str(raised.value)


def at_orthanc(orthanc, uid: str) -> bytes:
    (instance,) = orthanc.find("Instance", SOPInstanceUID=uid)
    return orthanc.content(f"/instances/{instance['ID']}/file")


# Stored


def test_orthanc_has_the_very_bytes(orthanc, files, data_set_bytes, tmp_path) -> None:
    outcomes = StowClient(StowPeer(orthanc.url + "/dicom-web")).store(files)
    assert [outcome.path for outcome in outcomes] == files
    assert [outcome.text for outcome in outcomes] == ["stored (0x0000), HTTP 200"] * 2
    for path, outcome in zip(files, outcomes, strict=True):
        back = tmp_path / "back.dcm"
        back.write_bytes(at_orthanc(orthanc, outcome.sop_instance_uid))
        assert data_set_bytes(back) == data_set_bytes(path)
        assert back.read_bytes() == path.read_bytes()


def test_the_same_again_is_the_same(orthanc, files) -> None:
    client = StowClient(StowPeer(orthanc.url + "/dicom-web/"))
    assert client.store(files) == client.store(files)
    assert len(orthanc.get("/instances")) == 2


def test_object_in_memory_is_stored_too(orthanc, contents) -> None:
    (outcome,) = StowClient(StowPeer(orthanc.url + "/dicom-web")).store([contents["sr.dcm"]])
    assert outcome.stored
    assert outcome.path == Path(f"{outcome.sop_instance_uid}.dcm")
    assert at_orthanc(orthanc, outcome.sop_instance_uid) == contents["sr.dcm"]


def test_each_request_carries_one_file_and_tells_its_length(serve, files) -> None:
    server = serve(lambda request: Response(200), tls=False)
    StowClient(StowPeer(server.url + "/dicom-web")).store(files)
    assert [request.path for request in server.requests] == ["/dicom-web/studies"] * 2
    assert [request.parts for request in server.requests] == [[f.read_bytes()] for f in files]
    for request in server.requests:
        assert request.headers["host"] == server.url.removeprefix("http://")
        assert "transfer-encoding" not in request.headers
        assert request.headers["accept"].startswith("application/dicom+json")


def test_warning_is_stored(moody, contents) -> None:
    uid = uid_of(contents["sr.dcm"])
    outcomes = StowClient(moody(202, store_response(stored={uid: 0xB000}))).store(
        [contents["sr.dcm"]]
    )
    assert verdicts(outcomes) == [Verdict.STORED]
    assert outcomes[0].text == "stored (0xB000), HTTP 202"


def test_answer_in_xml_is_understood(moody, contents) -> None:
    uid = uid_of(contents["sr.dcm"])
    answer = (
        '<?xml version="1.0" encoding="utf-8"?><NativeDicomModel><DicomAttribute '
        'tag="00081199" vr="SQ" keyword="ReferencedSOPSequence"><Item number="1">'
        '<DicomAttribute tag="00081155" vr="UI" keyword="ReferencedSOPInstanceUID">'
        f'<Value number="1">{uid}</Value></DicomAttribute></Item></DicomAttribute>'
        "</NativeDicomModel>"
    )
    peer = moody(200, answer.encode(), content_type="application/dicom+xml")
    assert verdicts(StowClient(peer).store([contents["sr.dcm"]])) == [Verdict.STORED]


# Not stored


def test_orthanc_does_not_take_an_object_into_another_study(orthanc, serve, files) -> None:
    front = serve(forward(orthanc.url, "/dicom-web/studies/1.2.3"), tls=False)
    outcomes = StowClient(StowPeer(front.url + "/dicom-web")).store(files)
    assert [outcome.text for outcome in outcomes] == ["refused (0x0110), HTTP 409"] * 2
    assert verdicts(outcomes) == [Verdict.RETRY] * 2
    assert orthanc.get("/instances") == []


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        (0xA700, Verdict.RETRY),
        (0x0110, Verdict.RETRY),
        (None, Verdict.RETRY),
        (0x0000, Verdict.RETRY),
        (0xB000, Verdict.RETRY),
        (0xA900, Verdict.REFUSED),
        (0xC000, Verdict.REFUSED),
        (0xC122, Verdict.REFUSED),
        (0x0122, Verdict.REFUSED),
    ],
)
def test_failure_reason_is_judged_as_a_c_store_status(moody, files, contents, reason, verdict):
    sr, sc = (uid_of(content) for content in contents.values())
    peer = moody(409, store_response(stored={sc: None}, failed={sr: reason, sc: reason}))
    assert verdicts(StowClient(peer).store(files)) == [verdict] * 2


def test_one_of_two_is_refused(serve, files, contents) -> None:
    sr, sc = (uid_of(content) for content in contents.values())

    def answer(request: Request) -> Response:
        if request.parts == [contents["sr.dcm"]]:
            return Response(409, store_response(failed={sr: 0xA900}))
        return Response(200, store_response(stored={sc: None}))

    peer = StowPeer(serve(answer, tls=False).url)
    assert verdicts(StowClient(peer).store(files)) == [Verdict.REFUSED, Verdict.STORED]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"<html>Welcome</html>",
        b"<html>",
        b"stored!",
        store_response(stored={"1.2.3": None}),
        b'{"00081199": {"vr": "SQ", "Value": [{}]}}',
    ],
)
@pytest.mark.parametrize("status", [200, 202])
def test_success_that_does_not_name_the_object_is_none(moody, files, status, body) -> None:
    outcomes = StowClient(moody(status, body)).store(files)
    assert verdicts(outcomes) == [Verdict.RETRY] * 2
    assert outcomes[0].text == f"not stored: HTTP {status}, but the answer does not name it"


@pytest.mark.parametrize("status", [408, 413, 429, 500, 502, 503, 504, 507])
def test_what_heals_is_tried_again(moody, files, status) -> None:
    outcomes = StowClient(moody(status, b"<html>later</html>")).store(files)
    assert verdicts(outcomes) == [Verdict.RETRY] * 2
    assert f"HTTP {status}" in outcomes[0].text


@pytest.mark.parametrize("status", [400, 406, 409, 415, 422])
def test_refused_request_is_a_refusal(moody, files, status) -> None:
    outcomes = StowClient(moody(status)).store(files)
    assert verdicts(outcomes) == [Verdict.REFUSED] * 2
    assert f"HTTP {status}" in outcomes[0].text


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "refuses our credentials: see its authentication (HTTP 401)"),
        (403, "does not let us store: see what our account may do there (HTTP 403)"),
        (404, "has no STOW-RS there: see its url (HTTP 404)"),
        (405, "has no STOW-RS there: see its url (HTTP 405)"),
    ],
)
def test_closed_door_loses_no_result_and_is_told(moody, files, status, told) -> None:
    peer = moody(status)
    assert failure(peer, files) == f"{peer.url} {told}"


@pytest.mark.parametrize("status", [301, 302, 307])
def test_redirection_is_not_followed(moody, files, status) -> None:
    peer = moody(status, location="https://elsewhere.invalid/login")
    assert failure(peer, files) == f"{peer.url} lies elsewhere (HTTP {status}): see its url"


def test_nobody_is_there(files, free_port) -> None:
    peer = StowPeer(f"http://127.0.0.1:{free_port()}/dicom-web")
    assert failure(peer, files) == f"no connection to {peer}: is it running?"


def test_unknown_host(files) -> None:
    assert "no such host" in failure(StowPeer("http://no-such-host.invalid"), files)


def test_server_that_hangs(orthanc, files) -> None:
    peer = StowPeer(orthanc.url + "/dicom-web", answer_timeout=0.5)
    orthanc.freeze()
    assert failure(peer, files) == f"{peer} did not answer in time"
    orthanc.thaw()


def test_file_that_is_no_dicom_is_found_before_anything_is_sent(serve, files, tmp_path) -> None:
    server = serve(lambda request: Response(200), tls=False)
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    for broken in (text, tmp_path / "missing.dcm", b"not an image"):
        with pytest.raises(UnreadableFile):
            StowClient(StowPeer(server.url)).store([*files, broken])
    assert server.requests == []


# Authentication


@pytest.fixture
def locked(orthanc, serve, trusting) -> StowPeer:
    """Orthanc behind a front that wants a password of every kind of letter."""
    front = serve(guarded(basic("sécond", PASSWORD).__eq__, forward(orthanc.url)))
    login = Basic("sécond", SecretStr(PASSWORD))
    return StowPeer(front.url + "/dicom-web", authentication=login, **trusting)


def test_password_opens(locked, orthanc, files) -> None:
    assert verdicts(StowClient(locked).store(files)) == [Verdict.STORED] * 2
    assert len(orthanc.get("/instances")) == 2


@pytest.mark.parametrize("login", [None, Basic("sécond", SecretStr("wrong-pässword"))])
def test_wrong_password_or_none(locked, orthanc, files, login) -> None:
    told = failure(replace(locked, authentication=login), files)
    assert told.endswith("refuses our credentials: see its authentication (HTTP 401)")
    assert orthanc.get("/instances") == []


class OAuthHospital:
    """A token endpoint, and Orthanc behind a front that wants its tokens."""

    def __init__(self, issuer: TokenIssuer, endpoint: WebServer, peer: StowPeer) -> None:
        self.issuer, self.endpoint, self.peer = issuer, endpoint, peer


@pytest.fixture
def oauth(orthanc, serve, trusting) -> Callable[..., OAuthHospital]:
    """``oauth(lifetime=3600, granted_scope=None)``."""

    def start(lifetime: float = 3600, granted_scope: str | None = None) -> OAuthHospital:
        issuer = TokenIssuer("second:read", SECRET, lifetime, granted_scope)
        endpoint = serve(issuer.answer)
        front = serve(guarded(issuer.admits, forward(orthanc.url)))
        credentials = OAuth2ClientCredentials(
            endpoint.url + "/token", "second:read", SecretStr(SECRET), "dicom.write patient"
        )
        peer = StowPeer(front.url + "/dicom-web", authentication=credentials, **trusting)
        return OAuthHospital(issuer, endpoint, peer)

    return start


def test_token_opens_and_is_kept(oauth, orthanc, files) -> None:
    hospital = oauth()
    client = StowClient(hospital.peer)
    assert verdicts([*client.store(files), *client.store(files)]) == [Verdict.STORED] * 4
    assert len(hospital.issuer.issued) == 1
    assert hospital.issuer.scopes == ["dicom.write patient"]
    assert len(orthanc.get("/instances")) == 2


def test_expired_token_is_not_used(oauth, files) -> None:
    hospital = oauth(lifetime=1)  # nearly over when it arrives: good for one object
    assert verdicts(StowClient(hospital.peer).store(files)) == [Verdict.STORED] * 2
    assert len(hospital.issuer.issued) == 2


def test_revoked_token_is_fetched_again_once(oauth, files) -> None:
    hospital = oauth()
    client = StowClient(hospital.peer)
    client.store(files)
    hospital.issuer.revoke_all()
    assert verdicts(client.store(files)) == [Verdict.STORED] * 2
    assert len(hospital.issuer.issued) == 2


def test_token_that_opens_nothing_is_no_endless_loop(oauth, files) -> None:
    hospital = oauth(lifetime=-1)
    assert "refuses our credentials" in failure(hospital.peer, files)
    assert len(hospital.issuer.issued) == 2


def test_other_scope_than_asked_is_left_to_the_server(oauth, files) -> None:
    hospital = oauth(granted_scope="dicom.write")
    assert verdicts(StowClient(hospital.peer).store(files)) == [Verdict.STORED] * 2


def test_wrong_client_secret(oauth, files) -> None:
    hospital = oauth()
    wrong = replace(hospital.peer.authentication, client_secret=SecretStr("wr0ng"))
    told = failure(replace(hospital.peer, authentication=wrong), files)
    url = hospital.endpoint.url
    assert told == f"{url}/token refuses us (invalid_client): see client_id, client_secret"


def test_token_endpoint_that_is_away(oauth, files) -> None:
    hospital = oauth()
    hospital.endpoint.close()
    url = hospital.endpoint.url
    assert failure(hospital.peer, files) == f"no connection to {url}/token: is it running?"


@pytest.mark.parametrize("body", [b"", b"[1]", b"7", b"<html>", b'{"token_type": "Bearer"}'])
def test_token_endpoint_that_is_none(oauth, serve, files, body) -> None:
    peer = oauth().peer
    endpoint = serve(lambda request: Response(200, body))
    elsewhere = replace(peer.authentication, token_url=endpoint.url)
    assert endpoint.url in failure(replace(peer, authentication=elsewhere), files)


# TLS


def test_unknown_authority_is_not_trusted(locked, orthanc, files) -> None:
    told = failure(replace(locked, ca_file=None), files)
    assert "its certificate is not trusted" in told
    assert told.endswith("see ca_file")
    assert orthanc.get("/instances") == []


def test_certificate_of_another_host_is_not_trusted(locked, files) -> None:
    by_name = replace(locked, url=locked.url.replace("127.0.0.1", "localhost"))
    assert "not trusted (hostname mismatch" in failure(by_name, files).lower()


def test_authority_of_the_environment_is_not_asked(locked, trusting, files, monkeypatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusting["ca_file"]))
    assert "its certificate is not trusted" in failure(replace(locked, ca_file=None), files)


def test_plain_http_where_tls_is_expected(orthanc, files) -> None:
    peer = StowPeer(orthanc.url.replace("http:", "https:"))
    assert failure(peer, files).startswith(f"no TLS with {peer}")


@pytest.mark.parametrize("one_file", [True, False], ids=["one file", "key apart"])
def test_client_certificate_opens(
    orthanc, serve, authority, trusting, files, tmp_path, one_file
) -> None:
    front = serve(forward(orthanc.url), client_certificate=True)
    ours = authority.issue_cert("secondread.hospital.example")
    certificate, key = tmp_path / "ours.pem", tmp_path / "ours.key"
    if one_file:
        ours.private_key_and_cert_chain_pem.write_to_path(str(certificate))
        identity = {"client_certificate": certificate}
    else:
        ours.cert_chain_pems[0].write_to_path(str(certificate))
        ours.private_key_pem.write_to_path(str(key))
        identity = {"client_certificate": certificate, "client_key": key}
    peer = StowPeer(front.url + "/dicom-web", **trusting, **identity)
    assert verdicts(StowClient(peer).store(files)) == [Verdict.STORED] * 2
    assert len(orthanc.get("/instances")) == 2


def test_without_its_client_certificate(orthanc, serve, trusting, files) -> None:
    front = serve(forward(orthanc.url), client_certificate=True)
    told = failure(StowPeer(front.url + "/dicom-web", **trusting), files)
    assert "certificate" in told
    assert orthanc.get("/instances") == []


def test_certificate_files_that_are_missing_or_broken(locked, files, tmp_path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for path in (tmp_path / "missing.pem", broken):
        for field in ("ca_file", "client_certificate"):
            told = failure(replace(locked, **{field: path}), files)
            assert "certificate" in told, (path, field)


# Nothing that is secret


def everything_said(peer: StowPeer, files: list[Path], caplog) -> str:
    """Logs and exceptions of a failure, and the peer as it prints itself."""
    with caplog.at_level(logging.DEBUG), pytest.raises(AssociationFailed) as raised:
        StowClient(peer).store(files)
    shown = "".join(traceback.format_exception(raised.value))
    assert caplog.text
    return shown + caplog.text + repr(peer)


def test_password_is_never_said(locked, files, caplog) -> None:
    login = Basic("sécond", SecretStr("wrong-pässword"))
    said = everything_said(replace(locked, authentication=login), files, caplog)
    assert "wrong-p" not in said
    assert basic("sécond", "wrong-pässword").removeprefix("Basic ") not in said


def test_client_secret_and_token_are_never_said(oauth, files, caplog) -> None:
    hospital = oauth(lifetime=-1)
    said = everything_said(hospital.peer, files, caplog)
    wrong = replace(hospital.peer.authentication, client_secret=SecretStr("wr0ng"))
    said += everything_said(replace(hospital.peer, authentication=wrong), files, caplog)
    sent = [request.headers["authorization"] for request in hospital.endpoint.requests]
    for secret in (SECRET, "wr0ng", *hospital.issuer.issued, *(each[6:] for each in sent)):
        assert secret not in said


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://pacs"},
        {"url": "pacs/dicom-web"},
        {"url": "https://user:password@pacs/dicom-web"},
        {"url": "https://pacs/dicom-web?token=1"},
        {"url": "https://pacs", "client_key": Path("key.pem")},
        {
            "url": "http://pacs",
            "authentication": OAuth2ClientCredentials("https://t", "id", SecretStr("s")),
        },
    ],
)
def test_peer_that_cannot_be_safe_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"url|client_key|access token") as raised:
        StowPeer(**wrong)
    assert "password" not in str(raised.value)


def test_secret_is_not_sent_to_a_token_endpoint_without_tls() -> None:
    with pytest.raises(ValueError, match="token_url"):
        OAuth2ClientCredentials("http://login", "id", SecretStr("s"))
