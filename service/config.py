"""The configuration: one typed object, built once at the start and passed down."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from service.destination import (
    TRANSPORTS,
    Destination,
    DimseDestination,
    ObjectKind,
    Port,
    Section,
)
from service.ingest.settings import IngestSettings
from service.queue.sentinels import sentinels
from service.sections import (
    AnalysisSettings,
    AuditSettings,
    DeliverySettings,
    KeeperSettings,
    MonitoringSettings,
    ProbeSettings,
    ResultSettings,
    RetrySettings,
    SpoolSettings,
    TracingSettings,
)
from service.truth.settings import TruthSettings
from service.web.settings import WebSettings

_PASSWORD = re.compile(r"://[^:@]*:[^@]+@|[?&]\w*password=[^&]", re.IGNORECASE)


class ConfigurationError(Exception):
    """The configuration cannot be used; each line of the text names a key and what is wrong."""


class _SecretUrl(Section):
    url: SecretStr = SecretStr("")
    url_file: Path | None = None

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if self.url.get_secret_value() and self.url_file is not None:
            raise ValueError("give url or url_file, not both: the environment counts too")
        return self


class JournalSettings(_SecretUrl):
    """url: SQLAlchemy URL; empty means SQLite in ``data_dir``.

    url_file: a file that holds the URL and nothing else, in place of ``url``.
    """


class BrokerSettings(_SecretUrl):
    """url: ``redis://…``, or ``sentinel://HOST:PORT,HOST:PORT/NAME`` for a master that Sentinel
    watches; empty means the embedded Valkey of ``secondread up``.

    url_file: a file that holds the URL and nothing else, in place of ``url``.
    embedded_port: port of the embedded broker on loopback.
    """

    embedded_port: Port = 16379


class _Environment(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """What is no JSON stays text, which is then refused under the name of its own key."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class Settings(BaseSettings):
    """The effective configuration: environment over TOML file over defaults.

    In the environment ``ingest.port`` is ``SECONDREAD_INGEST__PORT``; lists are JSON.
    """

    model_config = SettingsConfigDict(
        env_prefix="SECONDREAD_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    data_dir: Path = Path("secondread-data")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    ingest: IngestSettings = IngestSettings()
    journal: JournalSettings = JournalSettings()
    broker: BrokerSettings = BrokerSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    retry: RetrySettings = RetrySettings()
    spool: SpoolSettings = SpoolSettings()
    results: ResultSettings = ResultSettings()
    delivery: DeliverySettings = DeliverySettings()
    destinations: tuple[Destination, ...] = ()
    keeper: KeeperSettings = KeeperSettings()
    probe: ProbeSettings = ProbeSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    tracing: TracingSettings = TracingSettings()
    audit: AuditSettings = AuditSettings()
    truth: TruthSettings = TruthSettings()
    web: WebSettings = WebSettings()

    @field_validator("destinations")
    @classmethod
    def _unique_names(cls, destinations: tuple[Destination, ...]) -> tuple[Destination, ...]:
        names = [destination.name for destination in destinations]
        if len(set(names)) != len(names):
            raise ValueError("each destination needs a name of its own")
        return destinations

    @model_validator(mode="after")
    def _probed_destinations(self) -> Self:
        unknown = set(self.probe.destinations) - {each.name for each in self.destinations}
        if unknown:
            raise ValueError(f"probe.destinations: there is no destination {sorted(unknown)[0]}")
        return self

    @property
    def wanted(self) -> frozenset[ObjectKind]:
        """What any destination gets; without destinations, what one gets by default."""
        every = [destination.objects for destination in self.destinations]
        if not every:
            every = [DimseDestination.model_fields["objects"].default]
        return frozenset(kind for objects in every for kind in objects)

    @property
    def summary_after(self) -> float | None:
        """Seconds of quiet after which a study is summarised; None where nobody gets summaries."""
        summaries = any(ObjectKind.SUMMARY in item.objects for item in self.destinations)
        return self.results.quiet_seconds if summaries else None

    @property
    def longest_wait(self) -> float:
        """Seconds of no lease or retry: what is to wait longer was given a wrong time."""
        waits = (self.retry.first_seconds, self.retry.longest_seconds)
        return 60 + 2 * max(*waits, self.keeper.lease)

    @property
    def commitment_wait(self) -> float:
        """Seconds that a parcel waits for its destination to commit; 0 where none is asked to."""
        commitments = [
            item.commitment_timeout
            for item in self.destinations
            if isinstance(item, DimseDestination) and item.storage_commitment
        ]
        return max(commitments, default=0.0)

    @property
    def spool_dir(self) -> Path:
        """Folder of the received files and of the results, unless they lie in a bucket."""
        return self.data_dir / "spool"

    @property
    def audit_dir(self) -> Path:
        """Folder of the audit trail."""
        return self.data_dir / "audit"

    @property
    def models_dir(self) -> Path:
        """Folder of the installed model packages, and of which one is active."""
        return self.data_dir / "models"

    @property
    def accounts_file(self) -> Path:
        """Local accounts of the web page."""
        return self.web.accounts_file or self.data_dir / "accounts.json"

    @property
    def journal_url(self) -> str:
        """SQLAlchemy URL of the journal."""
        return _url(self.journal) or (f"sqlite:///{self.data_dir.resolve() / 'journal.sqlite3'}")

    @property
    def broker_url(self) -> str:
        """Redis URL of the broker."""
        url = _url(self.broker)
        try:
            sentinels(url)
        except ValueError as error:
            raise ConfigurationError(f"broker.url: {error}") from None
        return url or f"redis://127.0.0.1:{self.broker.embedded_port}/0"

    @property
    def embedded_broker(self) -> bool:
        """Whether ``secondread up`` starts a broker of its own."""
        return not _url(self.broker)

    def secret_files(self) -> list[Path]:
        """Files that nobody else should be able to read."""
        files: list[Path | None] = [self.journal.url_file, self.broker.url_file]
        files.append(self.spool.credentials_file)
        files.append(self.ingest.tls.key if self.ingest.tls else None)
        files += [peer.commitment_tls.key for peer in self.ingest.peers if peer.commitment_tls]
        files.append(self.probe.tls.key if self.probe.tls else None)
        triton = self.analysis.triton
        files.append(triton.tls.key if triton and triton.tls else None)
        if self.audit.syslog is not None:
            files.append(self.audit.syslog.tls.key)
        files.append(self.accounts_file)
        files.append(self.truth.tls.key if self.truth.tls else None)
        files.append(self.web.tls.key if self.web.tls else None)
        files.append(self.web.oidc.client_secret_file if self.web.oidc else None)
        for destination in self.destinations:
            files += destination.secret_files()
        return [path for path in files if path is not None]

    def exposed_files(self) -> list[Path]:
        """Secrets that everybody on this machine can read.

        One that is missing, or beyond our rights, is told by whoever needs it.
        """
        return [path for path in self.secret_files() if _is_readable_by_all(path)]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Environment(settings_cls), TomlConfigSettingsSource(settings_cls)


def load_settings(path: Path | None = None) -> Settings:
    """Read ``path`` (or ``$SECONDREAD_CONFIG``, or no file) and the environment.

    Raises ConfigurationError: one line a mistake, each naming its key.
    """
    if path is None and os.environ.get("SECONDREAD_CONFIG"):
        path = Path(os.environ["SECONDREAD_CONFIG"])
    if path is not None and not path.is_file():
        raise ConfigurationError(f"the configuration file {path} does not exist")

    class FileSettings(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        settings = FileSettings()
        _require_no_password_in(path)
        # Its files are read, so that one that is missing is told at once.
        _ = settings.journal_url, settings.broker_url
        return settings
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigurationError("\n".join(_lines(error))) from error


def _url(section: _SecretUrl) -> str:
    """Empty if none is given. Raises ConfigurationError if its file holds none."""
    if section.url_file is None:
        return section.url.get_secret_value()
    try:
        url = section.url_file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"{section.url_file} cannot be read: it holds a URL") from None
    if not url:
        raise ConfigurationError(f"{section.url_file} is empty: it holds a URL")
    return url


def _is_readable_by_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _require_no_password_in(path: Path | None) -> None:
    """A configuration is copied, mailed and kept in version control. Raises ConfigurationError."""
    if path is None:
        return
    values = tomllib.loads(path.read_text())
    for name in ("journal", "broker"):
        section = values.get(name)
        url = section.get("url") if isinstance(section, dict) else None
        if isinstance(url, str) and _PASSWORD.search(url):
            raise ConfigurationError(
                f"{name}.url: a password does not belong into {path}: set the environment's"
                f" SECONDREAD_{name.upper()}__URL, or {name}.url_file"
            )
    spool = values.get("spool")
    if isinstance(spool, dict) and spool.get("secret_key"):
        raise ConfigurationError(
            f"spool.secret_key: it does not belong into {path}: set the environment's"
            " SECONDREAD_SPOOL__SECRET_KEY, or spool.credentials_file"
        )


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        path = [str(part) for part in item["loc"] if part not in TRANSPORTS]
        lines.append(f"{'.'.join(path) or 'configuration'}: {item['msg']}")
    return lines


def masked(settings: Settings) -> dict[str, Any]:
    """The effective configuration as plain values, secrets as ``**********``."""
    return settings.model_dump(mode="json")
