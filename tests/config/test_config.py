"""The configuration: environment over file over defaults, and errors that name the key."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from service.config import ConfigurationError, Settings, load_settings, masked
from service.destination import DimseDestination, OAuth2Authentication, StowDestination

Written = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("SECONDREAD_"):
            monkeypatch.delenv(name)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """``written(toml)``: the path of a configuration file."""

    def write(toml: str) -> Path:
        path = tmp_path / "secondread.toml"
        path.write_text(toml)
        return path

    return write


def refusal(path: Path | None = None) -> str:
    with pytest.raises(ConfigurationError) as error:
        load_settings(path)
    return str(error.value)


def test_without_file_and_environment_all_has_a_default(tmp_path: Path) -> None:
    settings = load_settings()

    assert settings.ingest.port == 11112
    assert settings.destinations == ()
    assert settings.embedded_broker
    assert settings.broker_url == "redis://127.0.0.1:16379/0"
    assert settings.journal_url == f"sqlite:///{Path('secondread-data').resolve()}/journal.sqlite3"


def test_the_environment_outdoes_the_file_which_outdoes_the_default(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written('[ingest]\nae_title = "FILE"\nport = 104\n')
    monkeypatch.setenv("SECONDREAD_INGEST__PORT", "4242")

    ingest = load_settings(path).ingest

    assert (ingest.port, ingest.ae_title, ingest.host) == (4242, "FILE", "127.0.0.1")


def test_the_environment_may_name_the_file(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDREAD_CONFIG", str(written('log_level = "ERROR"')))
    assert load_settings().log_level == "ERROR"


def test_destinations_from_the_file(written: Written) -> None:
    path = written(
        '[[destinations]]\nname = "pacs"\nhost = "10.0.0.1"\nport = 104\nae_title = "PACS"\n'
        '[[destinations]]\nname = "research"\nhost = "10.0.0.2"\nport = 104\nae_title = "R"\n'
    )
    assert [each.name for each in load_settings(path).destinations] == ["pacs", "research"]


def test_lists_in_the_environment_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "SECONDREAD_DESTINATIONS", '[{"name": "pacs", "host": "h", "port": 104, "ae_title": "P"}]'
    )
    monkeypatch.setenv("SECONDREAD_INGEST__PEERS", '[{"ae_title": "US1", "address": "192.0.2.7"}]')

    settings = load_settings()

    assert settings.destinations == (
        DimseDestination(name="pacs", host="h", port=104, ae_title="P"),
    )
    (peer,) = settings.ingest.peers
    assert (peer.ae_title, str(peer.address)) == ("US1", "192.0.2.7/32")


DIMSE = '[[destinations]]\nname = "p"\nhost = "h"\nport = 1\nae_title = "P"\n'
STOW = '[[destinations]]\nname = "p"\nurl = "https://pacs.example.org/dicom-web"\n'


def test_a_url_makes_a_destination_stow_rs(written: Written) -> None:
    path = written(
        f'{STOW}authentication = {{ type = "oauth2", token_url = "https://t.example.org/",'
        ' client_id = "us", client_secret_file = "/run/secret" }\n'
    )
    (destination,) = load_settings(path).destinations
    assert isinstance(destination, StowDestination)
    assert isinstance(destination.authentication, OAuth2Authentication)


@pytest.mark.parametrize(
    ("toml", "wanted", "summary_after"),
    [
        ("", {"sr", "sc", "summary"}, None),
        (DIMSE, {"sr", "sc", "summary"}, 60),
        (f'{DIMSE}objects = ["sc"]', {"sc"}, None),
        (f'{DIMSE}objects = ["sr", "sc", "ko"]', {"sr", "sc", "ko"}, None),
    ],
)
def test_what_is_made_follows_from_what_the_destinations_want(
    written: Written, toml: str, wanted: set[str], summary_after: float | None
) -> None:
    settings = load_settings(written(toml))
    assert settings.wanted == wanted
    assert settings.summary_after == summary_after


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        (f'{DIMSE}objects = ["sr", "xx"]', "destinations.0.objects.1"),
        (f'{DIMSE}objects = ["sr", "sr"]', "destinations.0"),
        (f'{DIMSE}objects = ["sr", "ko"]', "destinations.0"),
        (f"{DIMSE}report_classes = []", "destinations.0.report_classes"),
        (f"{DIMSE}series_numbers = {{ sr = -1 }}", "destinations.0.series_numbers.sr"),
        (f'{DIMSE}character_set = "latin"', "destinations.0.character_set"),
        (f'{STOW}client_key = "k.pem"', "destinations.0"),
        (f'{STOW}authentication = {{ type = "magic" }}', "destinations.0.authentication"),
        ('[[destinations]]\nname = "p"\nurl = "ftp://pacs"', "destinations.0.url"),
        ('results.report_not_analysed = "perhaps"', "results.report_not_analysed"),
        ("results.quiet_seconds = 0", "results.quiet_seconds"),
        ("colour = 1", "colour"),
        ("[ingest]\nprot = 104", "ingest.prot"),
        ("[ingest]\nport = 0", "ingest.port"),
        ('[ingest]\nport = "one"', "ingest.port"),
        ("[ingest]\nmax_pdu_bytes = 0", "ingest.max_pdu_bytes"),
        ('[ingest]\nae_title = "LONGER THAN SIXTEEN"', "ingest.ae_title"),
        ('[ingest]\nae_title = "   "', "ingest.ae_title"),
        ('[[ingest.peers]]\nae_title = "US1"', "ingest.peers.0.address"),
        ('[[ingest.peers]]\naddress = "scanner.example.org"', "ingest.peers.0.address"),
        (
            '[[ingest.peers]]\nae_title = "BACK\\\\SLASH"\naddress = "192.0.2.7"',
            "ingest.peers.0.ae_title",
        ),
        ('[ingest.tls]\ncertificate = "c"\nkey = "k"', "ingest.tls"),
        ("[keeper]\nlease = 0", "keeper.lease"),
        ("[keeper]\nlease = inf", "keeper.lease"),
        ('[analysis]\nproviders = ["Abacus"]', "analysis.providers.0"),
        ('log_level = "LOUD"', "log_level"),
        ('[[destinations]]\nname = "p"\nport = 1\nae_title = "P"', "destinations.0.host"),
        (
            '[[destinations]]\nname = "No UID 1.2.3"\nhost = "h"\nport = 1\nae_title = "P"',
            "destinations.0.name",
        ),
        (
            '[[destinations]]\nname = "p"\nhost = "h"\nport = 1\nae_title = "P"\n' * 2,
            "destinations",
        ),
        ("ingest = 1", "ingest"),
        ('[spool]\nendpoint = "https://s3.example.org"', "spool"),
        ('[spool]\nbucket = "Images"', "spool.bucket"),
        ('[spool]\nbucket = "images"\naccess_key = "we"', "spool"),
        (
            '[spool]\nbucket = "images"\nendpoint = "https://we:key@s3.example.org"',
            "spool.endpoint",
        ),
        ('[web]\nhost = "0.0.0.0"', "web"),
        (
            '[[destinations]]\nname = "p"\nurl = "http://p.example.org/"\n'
            'authentication = { type = "basic", user = "u", password_file = "f" }',
            "destinations.0",
        ),
        ('[web]\nhost = "page.example.org"', "web"),
        (
            '[web.oidc]\nissuer = "https://i/"\nclient_id = "c"\nclient_secret_file = "s"',
            "web",
        ),
    ],
)
def test_each_mistake_is_told_with_its_key(written: Written, toml: str, key: str) -> None:
    assert refusal(written(toml)).startswith(f"{key}: ")


def test_all_mistakes_are_told_at_once(written: Written) -> None:
    lines = refusal(written("[ingest]\nport = 0\n[retry]\nrefusals = 0\n")).splitlines()
    assert [line.split(":")[0] for line in lines] == ["ingest.port", "retry.refusals"]


@pytest.mark.parametrize(
    ("variable", "text", "key"),
    [
        ("SECONDREAD_INGEST__PORT", "one", "ingest.port"),
        ("SECONDREAD_INGEST__PROT", "104", "ingest.prot"),
        ("SECONDREAD_INGEST", "no json", "ingest"),
        ("SECONDREAD_INGEST__PEERS", "US1,US2", "ingest.peers"),
        ("SECONDREAD_DESTINATIONS", "[{no json", "destinations"),
        ("SECONDREAD_DESTINATIONS", '[{"name": "p"}]', "destinations.0.host"),
    ],
)
def test_a_mistake_in_the_environment_is_told_with_its_key(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, key: str
) -> None:
    monkeypatch.setenv(variable, text)
    assert refusal().startswith(f"{key}: ")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, written: Written) -> None:
    assert str(tmp_path / "absent.toml") in refusal(tmp_path / "absent.toml")
    assert "is not TOML" in refusal(written("[ingest"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "is not TOML" in refusal(tmp_path / "binary.toml")


def test_spaces_around_an_ae_title_mean_nothing(written: Written) -> None:
    assert load_settings(written('[ingest]\nae_title = " AI "')).ingest.ae_title == "AI"


def test_secrets_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDREAD_JOURNAL__URL", "postgresql://user:geheim1@db/journal")
    monkeypatch.setenv("SECONDREAD_BROKER__URL", "redis://:geheim2@broker/0")
    monkeypatch.setenv("SECONDREAD_SPOOL__BUCKET", "images")
    monkeypatch.setenv("SECONDREAD_SPOOL__ACCESS_KEY", "we")
    monkeypatch.setenv("SECONDREAD_SPOOL__SECRET_KEY", "geheim3")

    settings = load_settings()

    assert settings.journal_url.endswith("geheim1@db/journal")
    assert settings.broker_url == "redis://:geheim2@broker/0"
    assert settings.spool.secret_key.get_secret_value() == "geheim3"
    assert not settings.embedded_broker
    for shown in (str(masked(settings)), str(settings), repr(settings)):
        assert "geheim" not in shown
    assert masked(settings)["journal"]["url"] == "**********"


@pytest.mark.parametrize("variable", ["SECONDREAD_BROKER", "SECONDREAD_BROKER__URLS"])
def test_a_secret_under_a_wrong_key_is_not_shown_either(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "redis://:secret2@broker/0")
    with pytest.raises(ConfigurationError) as error:
        load_settings()
    assert "secret2" not in "".join(traceback.format_exception(error.value))


def test_the_effective_configuration_is_a_configuration(written: Written) -> None:
    """What ``secondread config`` prints can be read again."""
    settings = load_settings(written("[ingest]\nport = 104\n"))
    assert Settings(**masked(settings)) == Settings(**settings.model_dump())


def test_a_job_waits_no_longer_than_the_configuration_lets_it() -> None:
    def pacs(**more: object) -> dict[str, object]:
        return {"name": "pacs", "host": "pacs", "port": 104, "ae_title": "PACS", **more}

    quiet = {"results": {"quiet_seconds": 100_000}}
    plain = Settings.model_validate({"destinations": [pacs()], **quiet})
    assert plain.longest_wait == 60 + 2 * 900
    assert plain.commitment_wait == 0
    asked = pacs(storage_commitment=True, commitment_timeout=50)
    committing = Settings.model_validate({"destinations": [asked]})
    assert committing.longest_wait == plain.longest_wait
    assert committing.commitment_wait == 50


# Secrets


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ('[journal]\nurl = "postgresql://user:geheim@db/journal"', "journal.url"),
        ('[journal]\nurl = "postgresql://user:ge/heim@db/journal"', "journal.url"),
        ('[journal]\nurl = "postgresql://db/journal?user=u&password=geheim"', "journal.url"),
        ('[broker]\nurl = "redis://:geheim@broker/0"', "broker.url"),
        (
            '[spool]\nbucket = "images"\naccess_key = "we"\nsecret_key = "geheim"',
            "spool.secret_key",
        ),
    ],
)
def test_a_password_in_the_file_is_refused(written: Written, toml: str, key: str) -> None:
    told = refusal(written(toml))
    assert told.startswith(f"{key}: ")
    assert "heim" not in told
    assert "SECONDREAD_" in told


def test_a_url_without_a_password_may_stand_there(written: Written) -> None:
    settings = load_settings(written('[broker]\nurl = "redis://broker:6379/0"'))
    assert settings.broker_url == "redis://broker:6379/0"


def test_a_url_may_come_from_a_file_of_its_own(written: Written, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("postgresql://user:geheim@db/journal\n")
    settings = load_settings(written(f'[journal]\nurl_file = "{secret}"'))
    assert settings.journal_url == "postgresql://user:geheim@db/journal"
    assert "geheim" not in str(masked(settings))
    assert secret in settings.secret_files()


def test_a_missing_secret_is_told_at_the_start(written: Written, tmp_path: Path) -> None:
    told = refusal(written(f'[broker]\nurl_file = "{tmp_path / "missing"}"'))
    assert "missing cannot be read" in told


def test_an_empty_secret_is_not_the_embedded_default(written: Written, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")
    told = refusal(written(f'[journal]\nurl_file = "{tmp_path / "secret"}"'))
    assert "secret is empty" in told


def test_a_url_comes_from_one_place(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDREAD_BROKER__URL", "redis://:geheim@broker/0")
    told = refusal(written(f'[broker]\nurl_file = "{tmp_path / "secret"}"'))
    assert told.startswith("broker: ")
    assert "geheim" not in told


@pytest.mark.parametrize(
    "toml",
    [
        'url = "https://user:geheim@pacs.example.org/"',
        'url = "https://geheim@pacs.example.org/"',
        'url = "https://pacs.example.org/"\nauthentication = { type = "oauth2", client_id = "c", '
        'client_secret_file = "s", token_url = "https://user:geheim@t.example.org/" }',
    ],
)
def test_a_login_in_a_destinations_url_is_refused(written: Written, toml: str) -> None:
    told = refusal(written(f'[[destinations]]\nname = "a"\n{toml}'))
    assert "a login does not belong into a URL" in told
    assert "geheim" not in told


def test_every_secrets_file_is_known(written: Written, tmp_path: Path) -> None:
    settings = load_settings(
        written(
            '[[destinations]]\nname = "a"\nurl = "https://a.example.org/"\n'
            'authentication = { type = "basic", user = "u", password_file = "/s/basic" }\n'
            '[[destinations]]\nname = "b"\nurl = "https://b.example.org/"\n'
            'authentication = { type = "oauth2", token_url = "https://t.example.org/", '
            'client_id = "c", client_secret_file = "/s/oauth" }\n'
            '[[destinations]]\nname = "c"\nhost = "h"\nport = 1\nae_title = "C"\n'
            'tls = { ca_file = "ca", certificate = "c", key = "/s/dimse" }\n'
            '[ingest.tls]\ncertificate = "c"\nkey = "/s/ingest"\nca_file = "ca"\n'
            '[audit.syslog]\nhost = "h"\n'
            'tls = { ca_file = "ca", certificate = "c", key = "/s/log" }\n'
            '[web]\nurl = "https://web.example.org/"\ntls = { certificate = "c", key = "/s/web" }\n'
            'accounts_file = "/s/accounts"\n'
            '[web.oidc]\nissuer = "https://i.example.org/"\nclient_id = "c"\n'
            'client_secret_file = "/s/oidc"\n'
            '[spool]\nbucket = "images"\ncredentials_file = "/s/store"'
        )
    )
    names = {path.name for path in settings.secret_files()}
    assert names == {"basic", "oauth", "dimse", "ingest", "log", "web", "accounts", "oidc", "store"}
