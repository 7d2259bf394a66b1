"""One gRPC connection to a Triton Inference Server (KServe's protocol, version 2)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from service.analysis.inference import DISTANCE, INPUT, InferenceError
from service.sections import TritonSettings

_LINGER_SECONDS = 2.0

Answers = Mapping[str, NDArray[np.float32]]
"""By the output's name, ``(n, …)`` each."""


class Connection:
    """One connection; it reads the TLS files when it is made.

    Raises InferenceError for TLS files that cannot be used.
    """

    def __init__(self, triton: TritonSettings, name: str, outputs: Sequence[str]) -> None:
        self.name = name
        self._outputs = outputs
        self._timeout = triton.timeout
        self._on_lost: Callable[[], object] | None = None
        self._channel = _channel(triton)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def watch(self, on_lost: Callable[[], object]) -> None:
        """Call it once an answer has come. on_lost: called in another thread when it is lost."""
        self._on_lost = on_lost
        self._channel.subscribe(self._became)

    def config(self) -> Any:
        """Raises grpc.RpcError."""
        request = service_pb2.ModelConfigRequest(name=self.name)
        return self._stub.ModelConfig(request, timeout=self._timeout).config

    def infer(self, images: NDArray[np.float32]) -> Answers:
        """Raises grpc.RpcError, or InferenceError for an answer that does not fit the question."""
        request = service_pb2.ModelInferRequest(
            model_name=self.name,
            inputs=[{"name": INPUT, "datatype": "FP32", "shape": images.shape}],
            outputs=[{"name": name} for name in self._outputs],
            raw_input_contents=[np.ascontiguousarray(images, dtype="<f4").tobytes()],
        )
        response = self._stub.ModelInfer(request, timeout=self._timeout)
        try:
            answers = dict(_arrays(response, len(images)))
        except ValueError:
            answers = {}
        if answers.keys() != set(self._outputs):
            raise InferenceError(f"the model {self.name} on Triton does not give what it should")
        return answers

    def close(self) -> None:
        if self._on_lost is None:
            self._channel.close()
            return
        self._channel.unsubscribe(self._became)
        # gRPC's watcher fails on a channel that is closed before it has seen that nobody listens.
        later = threading.Timer(_LINGER_SECONDS, self._channel.close)
        later.daemon = True
        later.start()

    def _became(self, state: grpc.ChannelConnectivity) -> None:
        if state is not grpc.ChannelConnectivity.READY and self._on_lost is not None:
            self._on_lost()


def _channel(triton: TritonSettings) -> grpc.Channel:
    target = triton.url.partition("://")[2]
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        # A proxy for the web, of the environment, does not lead to a server in the hospital.
        ("grpc.enable_http_proxy", 0),
    ]
    if triton.tls is None:
        return grpc.insecure_channel(target, options)
    tls = triton.tls
    try:
        credentials = grpc.ssl_channel_credentials(
            tls.ca_file.read_bytes(),
            tls.key.read_bytes() if tls.key else None,
            tls.certificate.read_bytes() if tls.certificate else None,
        )
    except OSError as error:
        raise InferenceError(
            f"analysis.triton.tls: {error.filename} cannot be read: {error.strerror}"
        ) from None
    return grpc.secure_channel(target, credentials, options)


def _arrays(response: Any, count: int) -> list[tuple[str, NDArray[np.float32]]]:
    """Raises ValueError."""
    found = []
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.datatype != "FP32":
            raise ValueError
        array = np.frombuffer(raw, dtype="<f4").reshape(tuple(output.shape))
        if len(array) != count:
            raise ValueError
        found.append((output.name, array.reshape(count) if output.name == DISTANCE else array))
    return found


def status_of(error: grpc.RpcError | None) -> grpc.StatusCode | None:
    """None for an error that came of no call."""
    return error.code() if isinstance(error, grpc.Call) else None
