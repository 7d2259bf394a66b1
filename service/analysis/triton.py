"""The model on a Triton Inference Server, which must show that it runs the package's model."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from functools import cached_property

import grpc
import numpy as np
from numpy.typing import NDArray

from service.analysis.inference import INPUT, OUTPUTS, InferenceError, make_session, outputs_of
from service.analysis.model_package import ModelPackage
from service.analysis.triton_connection import Answers, Connection, status_of
from service.analysis.triton_repository import SHA256, model_name
from service.log import fault
from service.outage import Outage
from service.sections import AnalysisSettings, TritonSettings

log = logging.getLogger(__name__)

_PATIENCE = 15.0
"""Seconds that an image waits for the server; less than a worker is given to stop."""
_RETRY_SECONDS = 1.0
_REFUSED_FACTOR = 10
"""A server that runs another model is asked less often: each time it scores an image for us."""
_PROBABILITY_TOLERANCE = 0.01
_CAM_TOLERANCE = 0.02
"""Of the CAM's maximum. On a GPU TF32 moves both by a tenth of that; INT8 moves them by more."""
_KIND_GPU = "KIND_GPU"
_CALL_AGAIN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


class TritonAway(InferenceError, Outage):
    """The server does not answer, or has not shown that it runs the model of the package."""


class TritonRefused(InferenceError, Outage):
    """The server runs another model, or in another way than is wanted: no image is to blame."""


class TritonRunner:
    """Runs the network on a Triton Inference Server; safe to use from several threads.

    A connection is used only once the server has shown on it that it runs the package's model: by
    the sha256 in the model's configuration, and by its answer to a known input, which is compared
    with what ``model.onnx`` answers here. A connection that is lost is made anew by a thread of
    this object, and must show it anew. A server that is away at the start is waited for.

    Raises TritonRefused if the server answers and runs another model, or in another way than the
    settings want it; InferenceError for TLS files that cannot be used.
    """

    provider = "Triton"

    def __init__(
        self, package: ModelPackage, settings: AnalysisSettings, triton: TritonSettings
    ) -> None:
        self._package = package
        self._settings = settings
        self._triton = triton
        self._outputs = outputs_of(package)
        size = package.manifest.preprocessing.size
        self._known: NDArray[np.float32] = (
            np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
        )
        self._changed = threading.Condition()
        self._connection: Connection | None = None
        self._wrong: str | None = "not connected to Triton yet"
        self._closed = False
        try:
            self._connect()
        except TritonAway as error:
            self._note(str(error))
        self._thread = threading.Thread(target=self._keep_connected, name="triton", daemon=True)
        self._thread.start()

    def what_is_wrong(self) -> str | None:
        """None while the server runs the package's model, as far as is known."""
        return self._wrong

    def close(self) -> None:
        with self._changed:
            self._closed = True
            connection, self._connection = self._connection, None
            self._changed.notify_all()
        self._thread.join()
        if connection is not None:
            connection.close()

    def run(self, images: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """``(n, 3, size, size)`` to the outputs, ``(n, …)`` each.

        Raises TritonAway after some seconds without a server that runs the model; InferenceError
        if the server cannot run these images.
        """
        deadline = time.monotonic() + _PATIENCE
        failure: grpc.RpcError | None = None
        for _ in range(2):
            with self._changed:
                self._changed.wait_for(
                    lambda: self._connection is not None or self._closed,
                    max(0.0, deadline - time.monotonic()),
                )
                connection = self._connection
            if connection is None:
                raise TritonAway(self._wrong or "the worker is ending")
            try:
                answers = connection.infer(images)
                return [answers[name] for name in self._outputs]
            except grpc.RpcError as error:
                failure = error
                self._lost(connection, self._failed(error))
        why = self._failed(failure)
        raise TritonAway(why) if status_of(failure) in _CALL_AGAIN else InferenceError(why)

    def _keep_connected(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._connection is None)
                if self._closed:
                    return
            wait = _RETRY_SECONDS
            try:
                self._connect()
                continue
            except TritonAway as error:
                why = str(error)
            except InferenceError as error:
                why, wait = str(error), _REFUSED_FACTOR * _RETRY_SECONDS
            except Exception as error:  # noqa: BLE001 whatever it was, it is tried again
                why = f"Triton at {self._triton.url} cannot be used: {fault(error)}"
            with self._changed:
                self._note(why)
                self._changed.wait_for(lambda: self._closed, wait)

    def _connect(self) -> None:
        """Raises TritonAway, TritonRefused, or InferenceError."""
        connection = Connection(self._triton, model_name(self._package.manifest), self._outputs)
        try:
            self._require_the_model(connection)
        except grpc.RpcError as error:
            connection.close()
            raise TritonAway(self._failed(error)) from None
        except BaseException:
            connection.close()
            raise
        with self._changed:
            if self._closed:
                connection.close()
                return
            # If it is lost by now, that is told at once, and waits for the lock.
            connection.watch(
                lambda: self._lost(connection, f"the connection to {self._triton.url} was lost")
            )
            self._connection, self._wrong = connection, None
            self._changed.notify_all()
            log.info("Triton at %s runs the model of the package", self._triton.url)

    def _lost(self, connection: Connection, why: str) -> None:
        with self._changed:
            if self._connection is not connection:
                return
            self._connection = None
            self._note(why)
            self._changed.notify_all()
        connection.close()

    def _note(self, why: str) -> None:
        """Under the lock, so that it says nothing of a connection that has been made since."""
        if why != self._wrong:
            log.warning("%s", why)
        self._wrong = why

    def _failed(self, error: grpc.RpcError | None) -> str:
        code = status_of(error)
        name = code.name if code is not None else type(error).__name__
        return f"Triton at {self._triton.url} does not answer as it should ({name})"

    def _require_the_model(self, connection: Connection) -> None:
        """Raises TritonRefused, grpc.RpcError, or InferenceError where an answer does not fit."""
        manifest, name, url = self._package.manifest, connection.name, self._triton.url
        try:
            config = connection.config()
        except grpc.RpcError as error:
            if status_of(error) is not grpc.StatusCode.NOT_FOUND:
                raise
            raise TritonRefused(
                f"Triton at {url} has no model {name}: write it into its model repository with "
                "`secondread model triton`"
            ) from None
        found = config.parameters[SHA256].string_value if SHA256 in config.parameters else "none"
        if found != manifest.sha256:
            raise TritonRefused(
                f"Triton at {url} runs another model as {name}: its sha256 is {found}, the "
                f"package's {manifest.sha256}; write it anew with `secondread model triton`"
            )
        if config.max_batch_size < self._settings.batch:
            raise TritonRefused(
                f"Triton at {url} takes {config.max_batch_size} images of {name} at a time, fewer "
                "than analysis.batch: write it anew with `secondread model triton --batch`"
            )
        kinds = {str(group.Kind.Name(group.kind)) for group in config.instance_group}
        if self._settings.require_gpu and _KIND_GPU not in kinds:
            raise TritonRefused(
                f"analysis.require_gpu is set, but Triton at {url} runs {name} on the CPU"
            )
        difference = _difference(connection.infer(self._known), self._expected)
        if difference:
            raise TritonRefused(
                f"Triton at {url} answers a known input otherwise than the package's model "
                f"({difference}): its {name} is not that model, or computes too coarsely"
            )

    @cached_property
    def _expected(self) -> Answers:
        """Of the package's own file to the known input, on this machine's CPU."""
        settings = self._settings.model_copy(update={"providers": ("CPUExecutionProvider",)})
        session = make_session(self._package, settings)
        return dict(
            zip(
                self._outputs,
                session.run(list(self._outputs), {INPUT: self._known}),
                strict=True,
            )
        )


def _difference(found: Answers, expected: Answers) -> str:
    """Where an answer lies too far from what is expected; empty if it does not."""
    for name, wanted in expected.items():
        got = found[name]
        if got.shape != wanted.shape:
            return f"{name} has the shape {got.shape} instead of {wanted.shape}"
        scale = 1.0 if name == OUTPUTS[0] else max(float(np.abs(wanted).max()), 1e-6)
        allowed = _PROBABILITY_TOLERANCE if name == OUTPUTS[0] else _CAM_TOLERANCE
        gap = float(np.abs(got - wanted).max()) / scale
        if not gap <= allowed:
            return f"{name} differs by {gap:.2g}"
    return ""
