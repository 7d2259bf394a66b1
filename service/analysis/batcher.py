"""Images of several threads, scored in one run: a GPU needs many at a time to be busy."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.outage import Outage

Pixels = NDArray[np.float32]
Answers = tuple[NDArray[np.float32], ...]
"""The network's outputs, each with the images along its first axis."""


class BatcherClosed(Exception):
    """The worker is ending: the image was not scored, and will be by another attempt."""


@dataclass(frozen=True)
class _Waiting:
    image: Pixels
    arrived: float = field(default_factory=time.monotonic)
    future: Future[Answers] = field(default_factory=Future)


class Batcher:
    """One thread that gathers images and runs them together.

    run: takes ``(n, 3, size, size)`` float32 with 1 ≤ n ≤ ``most``, returns arrays of n rows.
        It is called by this object's thread alone.
    most: images of a batch.
    wait: seconds that an image waits for others; while a batch runs, the next one gathers anyway.
    """

    def __init__(
        self, run: Callable[[Pixels], Sequence[NDArray[np.float32]]], most: int, wait: float
    ) -> None:
        self._run = run
        self._most = most
        self._wait = wait
        self._changed = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, image: Pixels) -> Future[Answers]:
        """The answers for ``(3, size, size)`` float32, each with one row, as of a batch of one.

        The future raises what ``run`` raises for this image by itself, or BatcherClosed. Raises
        BatcherClosed after ``close``.
        """
        waiting = _Waiting(image)
        with self._changed:
            if self._closed:
                raise BatcherClosed
            self._queue.append(waiting)
            self._changed.notify_all()
        return waiting.future

    def close(self) -> None:
        """Let the batch that runs end; what still waits for one fails with BatcherClosed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._answer(batch)
        for waiting in self._queue:
            if waiting.future.set_running_or_notify_cancel():
                waiting.future.set_exception(BatcherClosed())

    def _next_batch(self) -> list[_Waiting]:
        """At least one image; none after ``close``."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if self._queue:
                left = self._queue[0].arrived + self._wait - time.monotonic()
                self._changed.wait_for(
                    lambda: len(self._queue) >= self._most or self._closed, max(left, 0)
                )
            if self._closed:
                return []
            return [self._queue.popleft() for _ in range(min(self._most, len(self._queue)))]

    def _answer(self, batch: list[_Waiting]) -> None:
        wanted = [waiting for waiting in batch if waiting.future.set_running_or_notify_cancel()]
        if len(wanted) > 1:
            try:
                answers = self._rows([waiting.image for waiting in wanted])
            except Outage as error:
                for waiting in wanted:
                    waiting.future.set_exception(error)
                return
            except BaseException:  # noqa: BLE001 whose fault it is shows when each runs alone
                answers = []
            for waiting, answer in zip(wanted, answers, strict=False):
                waiting.future.set_result(answer)
            wanted = wanted[len(answers) :]
        for waiting in wanted:
            try:
                (answer,) = self._rows([waiting.image])
            except BaseException as error:  # noqa: BLE001 it belongs to who waits
                waiting.future.set_exception(error)
            else:
                waiting.future.set_result(answer)

    def _rows(self, images: list[Pixels]) -> list[Answers]:
        """The answers for each image. Raises what ``run`` raises, ValueError for too few rows."""
        outputs = self._run(np.stack(images))
        if any(len(output) != len(images) for output in outputs):
            raise ValueError(f"the model does not answer for each of {len(images)} images")
        # Copies: a row would keep the whole batch's answers alive.
        return [
            tuple(output[number : number + 1].copy() for output in outputs)
            for number in range(len(images))
        ]
