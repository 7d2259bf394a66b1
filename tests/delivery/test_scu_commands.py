"""``secondread echo`` and ``secondread send`` as an operator meets them."""

from __future__ import annotations

import pytest
import typer
from PIL import Image
from pynetdicom import AE
from typer.testing import CliRunner

from service.association import Acceptor
from service.cli.scu import echo, send


@pytest.fixture
def command():
    app = typer.Typer()
    app.command()(echo)
    app.command()(send)

    def run(*arguments):
        return CliRunner().invoke(app, [str(item) for item in arguments], env={"COLUMNS": "200"})

    return run


def test_echo_answers(command, local_archive) -> None:
    result = command("echo", "127.0.0.1", local_archive.port, "--aet", "ARCHIVE")
    assert result.exit_code == 0
    assert f"ARCHIVE at 127.0.0.1:{local_archive.port} answers" in result.output


def test_echo_without_a_peer_asks_whether_it_is_running(command, free_port) -> None:
    port = free_port()
    result = command("echo", "127.0.0.1", port)
    assert result.exit_code == 1
    assert f"no connection to SECONDREAD at 127.0.0.1:{port}: is it running?" in result.output


def test_echo_says_that_we_are_not_known(command) -> None:
    ae = AE("PACS")
    ae.add_supported_context("1.2.840.10008.1.1")
    ae.require_calling_aet = ["FRIEND"]
    acceptor = Acceptor(ae, "127.0.0.1", 0, [])
    acceptor.start()
    try:
        stranger = command("echo", "127.0.0.1", acceptor.port, "--aet", "PACS")
        friend = command("echo", "127.0.0.1", acceptor.port, "--aet", "PACS", "--calling", "FRIEND")
    finally:
        acceptor.stop()
    assert stranger.exit_code == 1
    assert "rejected the association: calling ae title not recognised" in stranger.output
    assert friend.exit_code == 0


def test_host_that_does_not_exist(command) -> None:
    result = command("echo", "no-such-host.invalid", 104)
    assert result.exit_code == 1
    assert "no-such-host.invalid: no such host" in result.output


@pytest.mark.parametrize("arguments", [("127.0.0.1", "0"), ("127.0.0.1", "104", "--aet", "x" * 17)])
def test_mistake_in_the_arguments_is_exit_code_2(arguments, command) -> None:
    assert command("echo", *arguments).exit_code == 2


def test_send_walks_folders_and_sends_files_as_they_are(
    command, local_archive, us_dicom, data_set_bytes
) -> None:
    result = command("send", us_dicom / "other", "--port", local_archive.port, "--aet", "ARCHIVE")
    sources = [data_set_bytes(path) for path in (us_dicom / "other").glob("*.dcm")]
    assert result.exit_code == 0, result.output
    assert result.output.count("stored (0x0000)") == len(sources)
    # Some of the files are encodings of one SOP Instance: the archive keeps the last of these.
    assert len(local_archive.files()) >= 15
    assert {data_set_bytes(path) for path in local_archive.files()} <= set(sources)


def test_picture_is_wrapped_and_other_files_are_named(command, local_archive, tmp_path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("L", (40, 30), 128).save(folder / "picture.png")
    (folder / "notes.txt").write_text("not an image")
    result = command("send", folder, "--port", local_archive.port, "--aet", "ARCHIVE")
    assert result.exit_code == 1
    assert len(local_archive.files()) == 1
    assert "neither DICOM nor a picture" in result.output
    assert "1 of 2 files were not stored" in result.output


def test_refusal_is_exit_code_1_with_its_status(command, moody_archive, us_dicom) -> None:
    archive = moody_archive(0xA700)
    source = us_dicom / "breast" / "uta4_p1_d045f565_IM128.dcm"
    result = command("send", source, "--port", archive.port, "--aet", "ARCHIVE")
    assert result.exit_code == 1
    assert "refused (0xA700)" in result.output


def test_send_to_nobody_is_exit_code_1(command, free_port, us_dicom) -> None:
    source = us_dicom / "breast" / "uta4_p1_d045f565_IM128.dcm"
    result = command("send", source, "--port", free_port())
    assert result.exit_code == 1
    assert "is it running?" in result.output


def test_path_that_does_not_exist_is_exit_code_2(command, tmp_path) -> None:
    assert command("send", tmp_path / "nothing.dcm").exit_code == 2
