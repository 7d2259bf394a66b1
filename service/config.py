"""The configuration: one typed object, built once at the start and passed down."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    Field,
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
    AeTitle,
    ClientTls,
    Destination,
    DimseDestination,
    ObjectKind,
    PlainUrl,
    Port,
    Seconds,
    Section,
)
from service.ingest.settings import IngestSettings
from service.queue.sentinels import sentinels
from service.truth.settings import TruthSettings
from service.web.settings import WebSettings

REFERENCE_MODEL = Path(__file__).resolve().parent.parent / "model_export" / "reference"

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


class AnalysisSettings(Section):
    """The analysis worker.

    model: folder of the model package; the reference model by default.
    operating_point: name of one of the package's; empty takes its default.
    providers: ONNX Runtime execution providers in order of preference.
    require_gpu: refuse to start where the session runs on the CPU.
    threads: ONNX Runtime intra-op threads; 0 lets it choose.
    spinning: let idle threads of ONNX Runtime spin (faster alone, bad on a shared host).
    concurrency: tasks a worker holds at the same time (they share one session), so that one image
        is decoded and reported while another is scored.
    batch: images of several tasks that are scored in one run, at most ``concurrency``. 1 is best on
        a CPU, where larger batches are slower.
    batch_wait_ms: milliseconds that an image waits for others to fill its batch.
    fp16: let TensorRT compute in float16. tf32: let CUDA round factors to TF32. Both change the
        scores a little.
    gpu_megabytes: of the GPU's memory, at most so much by the CUDA provider; 0 sets no limit.
    frame_stride: of a cine, score each n-th frame.
    max_frames: of a cine, score at most so many (evenly spread).
    decode_seconds, decode_megabytes: limits of the child process that decodes.
    coloured_share: above this share of coloured pixels in the box the image is not analysed.
    unlike_training: what becomes of an image that the model's gate does not know: its score is
        flagged, or it counts as not analysed.
    """

    model: Path = REFERENCE_MODEL
    operating_point: str = ""
    providers: tuple[
        Literal[
            "TensorrtExecutionProvider",
            "CUDAExecutionProvider",
            "OpenVINOExecutionProvider",
            "CPUExecutionProvider",
        ],
        ...,
    ] = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    require_gpu: bool = False
    threads: int = Field(default=0, ge=0)
    spinning: bool = False
    concurrency: int = Field(default=2, ge=1)
    batch: int = Field(default=1, ge=1, le=64)
    batch_wait_ms: float = Field(default=5, ge=0, le=1000)
    fp16: bool = False
    tf32: bool = False
    gpu_megabytes: int = Field(default=0, ge=0)
    frame_stride: int = Field(default=5, ge=1)
    max_frames: int = Field(default=64, ge=1)
    decode_seconds: Seconds = 60
    decode_megabytes: int = Field(default=4096, ge=256)
    coloured_share: float = Field(default=0.005, ge=0, le=1)
    unlike_training: Literal["flag", "refuse"] = "flag"

    @model_validator(mode="after")
    def _batches_can_fill(self) -> Self:
        if self.batch > self.concurrency:
            raise ValueError(
                "batch is more than concurrency: so many images are never in hand at the same time"
            )
        return self


class RetrySettings(Section):
    """Exponential backoff with jitter, and when to give up.

    analysis_attempts: tries of an analysis that fails by our fault, before ``failed``.
    refusals: tries of a delivery that the destination refuses for good, before ``failed``.
        Failures that can heal (no connection, 0xA7xx …) are tried for as long as it takes.
    first_seconds, longest_seconds: shortest and longest wait between two tries.
    """

    analysis_attempts: int = Field(default=4, ge=1)
    refusals: int = Field(default=5, ge=1)
    first_seconds: Seconds = 2
    longest_seconds: Seconds = 900


class ReportNotAnalysed(StrEnum):
    """on-request: the report is made and kept until ``secondread report`` asks for it."""

    ALWAYS = "always"
    ON_REQUEST = "on-request"
    NEVER = "never"


class ResultSettings(Section):
    """What is made of an image, and of a study.

    report_not_analysed: whether an SR says why an image was not analysed.
    quiet_seconds: a study that has been quiet for so long is summarised.
    dciodvfy: check each object with dciodvfy too, where that is installed.
    """

    report_not_analysed: ReportNotAnalysed = ReportNotAnalysed.ALWAYS
    quiet_seconds: Seconds = 60
    dciodvfy: bool = True


class DeliverySettings(Section):
    """The sending side.

    connect_timeout: seconds for the connection, and for the answer to an association request.
    dimse_timeout: seconds for the answer to one message or request.
    """

    ae_title: AeTitle = "SECONDREAD"
    concurrency: int = Field(default=4, ge=1)
    connect_timeout: Seconds = 10
    dimse_timeout: Seconds = 60


class KeeperSettings(Section):
    """interval: seconds between two looks. lease: seconds a worker holds a job between heartbeats.

    publish_grace: seconds after which a job that nobody took is published again.
    sweep_seconds: in which the whole spool is looked through for files that no row knows.
    sweep_age: seconds for which such a file must have been seen before anything is done about it.
    drift_seconds: between two comparisons of the scores with the model's reference, and with
        pathology.
    """

    interval: Seconds = 1
    lease: Seconds = 10
    publish_grace: Seconds = 30
    sweep_seconds: Seconds = 3600
    sweep_age: Seconds = 3600
    drift_seconds: Seconds = 300


class ProbeSettings(Section):
    """A synthetic image that the keeper sends to ingest, to see whether the road is open.

    It is marked as synthetic, shown nowhere, and taken out again once it is done.

    seconds: between two; 0 sends none. patience: seconds after which one counts as late.
    host, port: of ingest; its own by default. If ``ingest.peers`` names scanners, it must name the
        AE title SECONDREADPROBE and the keeper's address too.
    tls: if it is there, the probe goes over TLS.
    destinations: by name, those that get its results; none by default.
    """

    seconds: float = Field(default=0, ge=0, allow_inf_nan=False)
    patience: Seconds = 120
    host: str = ""
    port: Port | None = None
    tls: ClientTls | None = None
    destinations: tuple[str, ...] = ()


class MonitoringSettings(Section):
    """Each process serves ``/metrics`` and ``/healthz``; port 0 picks a free one.

    silent_seconds: a process of ``secondread up`` that has answered, and then answers nothing at
        all for so long, is killed and started again.
    """

    host: str = "127.0.0.1"
    ingest_port: int = Field(default=9108, ge=0, le=65535)
    analysis_port: int = Field(default=9109, ge=0, le=65535)
    delivery_port: int = Field(default=9110, ge=0, le=65535)
    keeper_port: int = Field(default=9111, ge=0, le=65535)
    web_port: int = Field(default=9112, ge=0, le=65535)
    silent_seconds: Seconds = 60


class TracingSettings(Section):
    """endpoint: of a collector that takes OTLP over HTTP, ``http://127.0.0.1:4318/v1/traces``;
    without it nothing is traced. Needs the extra ``trace``.
    """

    endpoint: PlainUrl | None = None


class SyslogSettings(Section):
    """The collector of audit messages (RFC 5425). tls: how it is known, and how it knows us."""

    host: str
    port: Port = 6514
    tls: ClientTls


class AuditSettings(Section):
    """Who received what and when (PS3.15 A.5): ``audit/`` in ``data_dir``, a file a day.

    syslog: also to a collector, from these files.
    """

    syslog: SyslogSettings | None = None


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
        """Folder of the received files and of the results."""
        return self.data_dir / "spool"

    @property
    def audit_dir(self) -> Path:
        """Folder of the audit trail."""
        return self.data_dir / "audit"

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
        files.append(self.ingest.tls.key if self.ingest.tls else None)
        files += [peer.commitment_tls.key for peer in self.ingest.peers if peer.commitment_tls]
        files.append(self.probe.tls.key if self.probe.tls else None)
        if self.audit.syslog is not None:
            files.append(self.audit.syslog.tls.key)
        files.append(self.accounts_file)
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


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        path = [str(part) for part in item["loc"] if part not in TRANSPORTS]
        lines.append(f"{'.'.join(path) or 'configuration'}: {item['msg']}")
    return lines


def masked(settings: Settings) -> dict[str, Any]:
    """The effective configuration as plain values, secrets as ``**********``."""
    return settings.model_dump(mode="json")
