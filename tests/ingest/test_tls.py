"""DICOM TLS on the listening and on the calling side, against dcmtk and OpenSSL."""

from __future__ import annotations

import os
import pty
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from service.cli import scu as cli
from service.config import ConfigurationError
from service.destination import ClientTls
from service.ingest.settings import IngestTls
from service.scu import AssociationFailed, Peer, echo, send_files
from service.tls import ServerTls
from tests.authority import Authority, openssl
from tests.conftest import Orthanc


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Has signed ``reader`` and ``scanner``."""
    authority = Authority(tmp_path_factory.mktemp("tls") / "ours")
    authority.sign("reader")
    authority.sign("scanner")
    return authority


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another one, which has signed ``scanner`` too."""
    authority = Authority(tmp_path_factory.mktemp("tls") / "theirs")
    authority.sign("scanner")
    return authority


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> dict[str, Path]:
    """Certificate and key of the service, as files that a test may change."""
    for name in ("reader.pem", "reader.key"):
        shutil.copy(authority.folder / name, tmp_path / name)
    return {"certificate": tmp_path / "reader.pem", "key": tmp_path / "reader.key"}


@pytest.fixture
def ingest(start_ingest, authority: Authority, files: dict[str, Path]):
    return start_ingest(tls={**files, "ca_file": authority.ca}, acse_timeout=2)


def client(of: Authority, trusts: Authority, **different: object) -> ClientTls:
    return ClientTls(
        ca_file=trusts.ca,
        certificate=of.folder / "scanner.pem",
        key=of.folder / "scanner.key",
        **different,
    )


@pytest.fixture
def secure(authority: Authority, ingest) -> Peer:
    return Peer("127.0.0.1", ingest.port, "SECONDREAD", tls=client(authority, authority))


@pytest.fixture
def scanner_options(authority: Authority) -> list[object]:
    """Of dcmtk's tools, for mutual TLS by the profile BCP 195."""
    scanner = authority.folder / "scanner"
    options = ["+tls", f"{scanner}.key", f"{scanner}.pem", "+cf", authority.ca]
    return [*options, "+px"]


def test_dcmtk_stores_over_tls(ingest, dcmtk, scanner_options, small_image) -> None:
    sent = dcmtk("storescu", *scanner_options, "127.0.0.1", ingest.port, small_image())
    assert sent.returncode == 0, sent.stdout
    assert len(ingest.rows()) == 1


def test_so_do_we(ingest, secure: Peer, small_image) -> None:
    (outcome,) = send_files([small_image(PixelData=b"\0" * 400_000)], secure, "SCANNER")
    assert outcome.status == 0


def test_nobody_gets_in_without_tls(ingest, dcmtk) -> None:
    assert dcmtk("echoscu", "-ta", "3", "127.0.0.1", ingest.port).returncode != 0
    assert refusals(ingest) == 1


def test_nor_without_a_certificate(ingest, dcmtk, authority: Authority) -> None:
    options = ["+tla", "+cf", authority.ca, "-ta", "3"]
    assert dcmtk("echoscu", *options, "127.0.0.1", ingest.port).returncode != 0
    assert refusals(ingest) == 1


def test_nor_with_one_of_an_unknown_authority(
    ingest, authority: Authority, stranger: Authority
) -> None:
    peer = Peer("127.0.0.1", ingest.port, "SECONDREAD", 3, 3, tls=client(stranger, authority))
    with pytest.raises(AssociationFailed):
        echo(peer, "SCANNER")
    assert refusals(ingest) == 1


def test_a_scanner_without_certificates_may_be_let_in(
    start_ingest, files: dict[str, Path], dcmtk, authority: Authority
) -> None:
    ingest = start_ingest(tls={**files, "require_client_certificate": False})
    echoed = dcmtk("echoscu", "+tla", "+cf", authority.ca, "127.0.0.1", ingest.port)
    assert echoed.returncode == 0, echoed.stdout


def refusals(ingest) -> float:
    value = ingest.metrics.registry.get_sample_value(
        "secondread_refused_associations_total", {"reason": "tls"}
    )
    return value or 0.0


def handshake(port: int, authority: Authority, *options: str) -> subprocess.CompletedProcess[str]:
    scanner = authority.folder / "scanner"
    return openssl(
        *("s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", authority.ca),
        *("-cert", f"{scanner}.pem", "-key", f"{scanner}.key", *options),
    )


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_versions_of_the_profile_are_spoken(ingest, authority: Authority, version: str) -> None:
    done = handshake(ingest.port, authority, version)
    assert "Verify return code: 0 (ok)" in done.stdout
    assert "Cipher is (NONE)" not in done.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"),
        ("-tls1", "-cipher", "DEFAULT@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "AES128-GCM-SHA256"),
        ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"),
        ("-tls1_2", "-cipher", "AES256-SHA:@SECLEVEL=0"),
    ],
    ids=["TLS 1.1", "TLS 1.0", "no forward secrecy", "CBC", "neither"],
)
def test_what_the_profile_excludes_is_refused(
    ingest, authority: Authority, options: tuple[str, ...]
) -> None:
    assert "Cipher is (NONE)" in handshake(ingest.port, authority, *options).stdout


def serial(port: int, authority: Authority) -> str:
    shown = handshake(port, authority, "-showcerts").stdout
    certificate = shown[shown.index("-----BEGIN") : shown.index("-----END")]
    return openssl(
        "x509", "-noout", "-serial", text=f"{certificate}-----END CERTIFICATE-----\n"
    ).stdout


def test_a_changed_certificate_holds_without_a_restart(
    ingest, authority: Authority, secure: Peer, files: dict[str, Path]
) -> None:
    before = serial(ingest.port, authority)
    assert before.startswith("serial=")
    certificate, key = authority.sign("reader-of-next-year")
    shutil.copy(key, files["key"])
    shutil.copy(certificate, files["certificate"])
    assert serial(ingest.port, authority) != before
    assert echo(secure, "SCANNER") == 0


def test_a_broken_certificate_leaves_the_good_one_in_force(
    ingest, secure: Peer, files: dict[str, Path], caplog
) -> None:
    files["certificate"].write_text("not yet written")
    assert echo(secure, "SCANNER") == 0
    assert "the changed TLS files are not used" in caplog.text
    registry = ingest.metrics.registry
    assert registry.get_sample_value("secondread_tls_reload_failures_total") == 1


def test_a_slow_handshake_keeps_nobody_waiting_and_is_cut(
    start_ingest, authority: Authority, files: dict[str, Path], eventually
) -> None:
    ingest = start_ingest(tls={**files, "ca_file": authority.ca}, acse_timeout=10)
    peer = Peer("127.0.0.1", ingest.port, "SECONDREAD", 30, 30, client(authority, authority))
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=60) as silent:
        assert echo(peer, "SCANNER") == 0
        assert refusals(ingest) == 0, "answered while the silent one was still waited for"
        assert silent.recv(1) == b""
    eventually(lambda: refusals(ingest) == 1)


def test_one_that_drips_is_cut_too(ingest, eventually) -> None:
    hello = iter(b"\x16\x03\x01\x02\x00" + b"\x01" * 512)
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=20) as slow:

        def is_cut() -> bool:
            try:
                slow.send(bytes([next(hello)]))
            except OSError:
                return True
            return False

        eventually(is_cut)
    eventually(lambda: refusals(ingest) == 1)


def test_we_do_not_talk_to_an_unknown_authority(ingest, authority, stranger: Authority) -> None:
    peer = Peer("127.0.0.1", ingest.port, "SECONDREAD", 3, 3, tls=client(authority, stranger))
    with pytest.raises(AssociationFailed, match="no TLS connection"):
        echo(peer, "SCANNER")


def test_nor_to_a_certificate_for_another_host(
    start_ingest, authority: Authority, small_image
) -> None:
    certificate, key = authority.sign("elsewhere", host="192.0.2.7")
    tls = {"certificate": certificate, "key": key, "ca_file": authority.ca}
    port = start_ingest(tls=tls).port
    strict = Peer("127.0.0.1", port, "SECONDREAD", 3, 3, tls=client(authority, authority))
    with pytest.raises(AssociationFailed, match="no TLS connection"):
        echo(strict, "SCANNER")
    lenient = client(authority, authority, check_host_name=False)
    assert echo(Peer("127.0.0.1", port, "SECONDREAD", tls=lenient), "SCANNER") == 0


@pytest.fixture
def tls_archive(authority: Authority, tmp_path: Path, free_port: Callable[[], int], eventually):
    """dcmtk's storescp with mutual TLS; its port and its folder."""
    folder, port = tmp_path / "archive", free_port()
    folder.mkdir()
    binary = shutil.which("storescp")
    assert binary, "dcmtk is not installed"
    reader = authority.folder / "reader"
    tls = ["+tls", f"{reader}.key", f"{reader}.pem", "+cf", str(authority.ca), "-rc", "+px"]
    server = subprocess.Popen([binary, *tls, "-od", str(folder), str(port)])
    eventually(lambda: _answers(port))
    yield port, folder
    server.kill()
    server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_archive_of_dcmtk_is_reached_over_tls(tls_archive, authority, small_image) -> None:
    port, folder = tls_archive
    peer = Peer("127.0.0.1", port, "ARCHIVE", tls=client(authority, authority))
    (outcome,) = send_files([small_image()], peer, "SECONDREAD")
    assert outcome.status == 0
    assert len(list(folder.iterdir())) == 1


def test_so_is_orthanc(authority: Authority, tmp_path: Path, small_image) -> None:
    reader = authority.folder / "reader"
    server = Orthanc(
        tmp_path,
        DicomTlsEnabled=True,
        DicomTlsCertificate=f"{reader}.pem",
        DicomTlsPrivateKey=f"{reader}.key",
        DicomTlsTrustedCertificates=str(authority.ca),
        DicomTlsRemoteCertificateRequired=True,
    )
    server.start()
    try:
        peer = Peer("127.0.0.1", server.port, "ORTHANC", tls=client(authority, authority))
        (outcome,) = send_files([small_image()], peer, "SECONDREAD")
        nameless = Peer("127.0.0.1", server.port, "ORTHANC", 3, 3, ClientTls(ca_file=authority.ca))
        with pytest.raises(AssociationFailed):
            echo(nameless, "SECONDREAD")
        assert outcome.status == 0
        assert len(server.get("/instances")) == 1
    finally:
        server.kill()


@pytest.fixture
def command() -> Callable[..., Result]:
    """``secondread echo`` and ``secondread send``."""
    app = typer.Typer()
    app.command()(cli.echo)
    app.command()(cli.send)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})

    return run


def test_the_operator_echoes_and_sends_over_tls(ingest, command, authority, small_image) -> None:
    scanner = authority.folder / "scanner"
    tls = ["--tls-ca", authority.ca, "--tls-certificate", f"{scanner}.pem", "--tls-key"]
    tls.append(f"{scanner}.key")
    echoed = command("echo", "127.0.0.1", ingest.port, *tls)
    assert echoed.exit_code == 0, echoed.output
    sent = command("send", small_image(), "--port", ingest.port, *tls)
    assert sent.exit_code == 0, sent.output
    assert len(ingest.rows()) == 1
    assert command("echo", "127.0.0.1", ingest.port).exit_code == 1


def test_the_operator_may_leave_the_host_name_unchecked(
    start_ingest, command, authority: Authority
) -> None:
    certificate, key = authority.sign("somewhere", host="192.0.2.8")
    tls = {"certificate": certificate, "key": key, "require_client_certificate": False}
    port = start_ingest(tls=tls).port
    strict = command("echo", "127.0.0.1", port, "--tls-ca", authority.ca)
    assert strict.exit_code == 1
    assert "no TLS connection" in strict.output
    lenient = command("echo", "127.0.0.1", port, "--tls-ca", authority.ca, "--tls-any-host-name")
    assert lenient.exit_code == 0, lenient.output


@pytest.mark.parametrize("options", [("--tls-key", "k"), ("--tls-any-host-name",)])
def test_half_of_the_options_is_a_mistake(command, options: tuple[str, ...]) -> None:
    assert command("echo", "127.0.0.1", 104, *options).exit_code == 2


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    settings = IngestTls(
        certificate=missing, key=authority.folder / "reader.key", ca_file=authority.ca
    )
    with pytest.raises(ConfigurationError, match=r"missing\.pem.*No such file"):
        ServerTls(settings)
    with pytest.raises(AssociationFailed, match=r"missing\.pem"):
        echo(Peer("127.0.0.1", 1, "X", tls=ClientTls(ca_file=missing)), "SCANNER")


def test_the_key_must_be_that_of_the_certificate(authority: Authority) -> None:
    folder = authority.folder
    settings = IngestTls(
        certificate=folder / "reader.pem", key=folder / "scanner.key", ca_file=authority.ca
    )
    with pytest.raises(ConfigurationError, match="KEY_VALUES_MISMATCH"):
        ServerTls(settings)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(
    authority: Authority, tmp_path: Path
) -> None:
    key = tmp_path / "locked.key"
    made = openssl(
        *("pkey", "-in", authority.folder / "reader.key", "-aes256", "-passout", "pass:secret"),
        *("-out", key),
    )
    assert made.returncode == 0, made.stderr
    program = (
        "import sys; from pathlib import Path; from service.ingest.settings import IngestTls;"
        "from service.tls import ServerTls; a = [Path(x) for x in sys.argv[1:]];"
        "ServerTls(IngestTls(certificate=a[0], key=a[1], ca_file=a[2]))"
    )
    # On a terminal OpenSSL would ask for the password, and wait.
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", program, authority.folder / "reader.pem", key, authority.ca],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    os.close(ours)
    os.close(theirs)
    assert "ConfigurationError: TLS cannot use" in done.stderr
    assert "pass phrase" not in done.stderr
