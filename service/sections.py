"""The sections of the configuration that workers, keeper and operators have."""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from service.destination import AeTitle, ClientTls, PlainUrl, Port, Seconds, Section

REFERENCE_MODEL = Path(__file__).resolve().parent.parent / "model_export" / "reference"
_PUBLIC_KEY_BYTES = 32
"""Of Ed25519."""


class TritonSettings(Section):
    """A Triton Inference Server that runs the model, in place of the worker. Needs the extra
    ``triton``.

    url: ``grpc://HOST:PORT``, or ``grpcs://HOST:PORT`` with ``tls``.
    timeout: seconds for the answer to one request.
    """

    url: Annotated[str, StringConstraints(pattern=r"^grpcs?://([^\s/@:]+|\[[0-9a-fA-F:]+\]):\d+$")]
    tls: ClientTls | None = None
    timeout: Seconds = 60

    @model_validator(mode="after")
    def _tls_as_the_url_says(self) -> Self:
        if self.url.startswith("grpcs:") != (self.tls is not None):
            raise ValueError("a grpcs url needs tls, and a grpc url has none")
        if self.tls is not None and not self.tls.check_host_name:
            raise ValueError("tls.check_host_name: with gRPC the host name is always checked")
        return self


class AnalysisSettings(Section):
    """The analysis worker.

    model: folder of the model package that is used until one of the model store is activated; the
        reference model by default.
    trusted_keys: public Ed25519 keys, 32 bytes in Base64, as ``secondread-model keygen`` prints
        them. If there are any, one of them must have signed each package that is installed or
        loaded; the reference model, a part of the program, needs none.
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
    triton: if it is there, a server runs the model; ``providers``, ``threads`` and what else is of
        ONNX Runtime is then the server's business.
    """

    model: Path = REFERENCE_MODEL
    trusted_keys: tuple[str, ...] = ()
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
    triton: TritonSettings | None = None

    @field_validator("trusted_keys")
    @classmethod
    def _are_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for key in keys:
            try:
                size = len(base64.b64decode(key, validate=True))
            except (binascii.Error, ValueError):
                size = 0
            if size != _PUBLIC_KEY_BYTES:
                raise ValueError(f"each is {_PUBLIC_KEY_BYTES} bytes in Base64")
        return keys

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
    truth_port: int = Field(default=9113, ge=0, le=65535)
    silent_seconds: Seconds = 60


class SpoolSettings(Section):
    """Where received files and results are kept: without a bucket in ``spool/`` in ``data_dir``.

    bucket: in a store that speaks S3, which ``data_dir`` then only holds copies of. Needs the extra
        ``s3``.
    prefix: of the objects' names, where the bucket is not ours alone.
    endpoint: URL of the store; without it, Amazon's of the ``region``.
    access_key, secret_key: who we are. credentials_file: the same from a file as the AWS CLI has
        it, ``[default]``. Without any, botocore looks for a role of the machine or of the pod.
    ca_file: PEM of the authorities that may have signed the store's certificate.
    timeout: seconds for a connection, and for each answer; there are three tries.
    cache_bytes: of copies on this machine.
    """

    bucket: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$")
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9_./-]*$")
    endpoint: PlainUrl | None = None
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: SecretStr = SecretStr("")
    credentials_file: Path | None = None
    ca_file: Path | None = None
    timeout: Seconds = 10
    cache_bytes: int = Field(default=10 << 30, ge=0)

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        given = any(
            getattr(self, name) != field.default for name, field in type(self).model_fields.items()
        )
        if given and not self.bucket:
            raise ValueError("bucket is missing: it names where in the store")
        if bool(self.access_key) != bool(self.secret_key.get_secret_value()):
            raise ValueError("access_key and secret_key belong together")
        if self.access_key and self.credentials_file is not None:
            raise ValueError("give access_key or credentials_file, not both")
        return self


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
