"""Several threads' images in one run: who gets what, and what becomes of those that fail."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from service.analysis.analyser import Analyser
from service.analysis.batcher import Batcher, BatcherClosed
from service.analysis.gpu import SizedRuns, batch_sizes
from service.analysis.inference import OUTPUTS, OnnxRunner, Scorer, make_session, runs_at_once
from service.analysis.model_package import ModelPackage, load_model_package
from service.sections import REFERENCE_MODEL, AnalysisSettings

POISON = -1.0
LONG = 5.0
"""Seconds; a test that has to wait so long for a batch has failed."""


def picture(value: float) -> np.ndarray:
    return np.full((3, 2, 2), value, dtype=np.float32)


class Network:
    """Answers with twice the first value and a map of it; notes the batches it was given.

    It stands still while ``gate`` is not set.
    """

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, images: np.ndarray) -> Sequence[np.ndarray]:
        self.entered.set()
        assert self.gate.wait(LONG)
        first = images[:, 0, 0, 0]
        self.batches.append(first.tolist())
        if (first == POISON).any():
            raise RuntimeError("poison")
        return [2 * first, images[:, 0]]


@pytest.fixture
def network() -> Network:
    return Network()


Start = Callable[..., Batcher]


@pytest.fixture
def start(network: Network) -> Iterator[Start]:
    """``start(most=…, wait=…)`` a batcher of the network; all are closed in the end."""
    started: list[Batcher] = []

    def batcher(most: int, wait: float) -> Batcher:
        started.append(Batcher(network, most, wait))
        return started[-1]

    yield batcher
    network.gate.set()
    for one in started:
        one.close()


def occupy(network: Network, batcher: Batcher) -> None:
    """Leave the network busy with an image of its own until its gate is set."""
    network.gate.clear()
    batcher.submit(picture(0))
    assert network.entered.wait(LONG)


def test_each_gets_its_own_answer(network: Network, start: Start) -> None:
    batcher = start(most=4, wait=0.02)
    values = [float(value) for value in range(1, 50)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda v: batcher.submit(picture(v)).result(LONG), values))
    for value, (score, grid) in zip(values, found, strict=True):
        np.testing.assert_array_equal(score, [2 * value])
        np.testing.assert_array_equal(grid, np.full((1, 2, 2), value))
    assert sorted(value for batch in network.batches for value in batch) == values
    assert max(len(batch) for batch in network.batches) == 4


def test_a_full_batch_does_not_wait(network: Network, start: Start) -> None:
    batcher = start(most=2, wait=10 * LONG)
    futures = [batcher.submit(picture(value)) for value in (1, 2)]
    assert [float(future.result(LONG)[0][0]) for future in futures] == [2, 4]
    assert network.batches == [[1, 2]]


def test_an_image_by_itself_waits_no_longer_than_it_should(network: Network, start: Start) -> None:
    batcher = start(most=8, wait=0.1)
    began = time.monotonic()
    batcher.submit(picture(1)).result(LONG)
    assert 0.1 <= time.monotonic() - began < LONG
    assert network.batches == [[1]]


def test_the_next_batch_gathers_while_one_runs(network: Network, start: Start) -> None:
    batcher = start(most=3, wait=0)
    occupy(network, batcher)
    futures = [batcher.submit(picture(value)) for value in (1, 2, 3, 4)]
    network.gate.set()
    for future in futures:
        future.result(LONG)
    assert network.batches == [[0], [1, 2, 3], [4]]


def test_a_poisoned_image_fails_alone(network: Network, start: Start) -> None:
    batcher = start(most=3, wait=10 * LONG)
    one, poisoned, two = (batcher.submit(picture(value)) for value in (1, POISON, 2))
    assert float(one.result(LONG)[0][0]) == 2
    assert float(two.result(LONG)[0][0]) == 4
    with pytest.raises(RuntimeError, match="poison"):
        poisoned.result(LONG)
    assert network.batches == [[1, POISON, 2], [1], [POISON], [2]]
    after = [batcher.submit(picture(value)) for value in (3, 4, 5)]
    assert [float(future.result(LONG)[0][0]) for future in after] == [6, 8, 10]


def test_an_image_by_itself_that_fails_is_not_run_twice(network: Network, start: Start) -> None:
    batcher = start(most=1, wait=0)
    with pytest.raises(RuntimeError, match="poison"):
        batcher.submit(picture(POISON)).result(LONG)
    assert network.batches == [[POISON]]


def test_a_model_that_answers_for_one_image_alone_is_an_error() -> None:
    with closing(Batcher(lambda images: [images[:1]], 2, 10 * LONG)) as batcher:
        futures = [batcher.submit(picture(value)) for value in (1, 2)]
        # By themselves they are answered.
        values = [float(future.result(LONG)[0][0, 0, 0, 0]) for future in futures]
    assert values == [1, 2]


def test_closing_ends_what_runs_and_fails_what_waits(network: Network, start: Start) -> None:
    batcher = start(most=1, wait=0)
    network.gate.clear()
    running = batcher.submit(picture(1))
    assert network.entered.wait(LONG)
    waiting = batcher.submit(picture(2))
    with ThreadPoolExecutor() as threads:
        closing_it = threads.submit(batcher.close)
        with pytest.raises(TimeoutError):
            waiting.result(0.05)
        network.gate.set()
        closing_it.result(LONG)
    assert float(running.result(LONG)[0][0]) == 2
    with pytest.raises(BatcherClosed):
        waiting.result(LONG)
    with pytest.raises(BatcherClosed):
        batcher.submit(picture(3))
    batcher.close()
    assert network.batches == [[1]]


def test_closing_does_not_wait_for_a_batch_to_fill(start: Start) -> None:
    batcher = start(most=2, wait=10 * LONG)
    future = batcher.submit(picture(1))
    batcher.close()
    with pytest.raises(BatcherClosed):
        future.result(LONG)


def test_who_has_given_up_is_left_out(network: Network, start: Start) -> None:
    batcher = start(most=2, wait=0)
    occupy(network, batcher)
    given_up, other = batcher.submit(picture(1)), batcher.submit(picture(2))
    assert given_up.cancel()
    network.gate.set()
    other.result(LONG)
    assert network.batches == [[0], [2]]


def test_nothing_that_a_run_raises_ends_the_batcher() -> None:
    def end(images: np.ndarray) -> Sequence[np.ndarray]:
        if images[0, 0, 0, 0] == POISON:
            raise SystemExit
        return [images]

    with closing(Batcher(end, 1, 0)) as batcher:
        with pytest.raises(SystemExit):
            batcher.submit(picture(POISON)).result(LONG)
        assert len(batcher.submit(picture(2)).result(LONG)) == 1


def scores_of(scorer: Scorer, images: list[np.ndarray], threads: int) -> list[list[np.ndarray]]:
    with ThreadPoolExecutor(threads) as pool:
        scores = list(pool.map(scorer.score, images))
    return [
        [np.array([score.probability_malignant, score.distance]), *score.cams.values()]
        for score in scores
    ]


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Pictures that the reference model scores differently."""
    rng = np.random.default_rng(5)
    return [
        np.repeat(rng.integers(20, 40 + 40 * n, (30, 40), dtype=np.uint8), 6, axis=0)
        for n in range(5)
    ]


def test_the_reference_model_scores_in_batches_as_it_does_alone(images: list[np.ndarray]) -> None:
    package = load_model_package(REFERENCE_MODEL)
    alone = scores_of(Scorer(package, AnalysisSettings()), images, 1)
    settings = AnalysisSettings(batch=2, concurrency=4, batch_wait_ms=1000)
    with closing(Scorer(package, settings)) as scorer:
        together = scores_of(scorer, images[:4], 4)
    for expected, found in zip(alone[:4], together, strict=True):
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    probabilities = [answers[0][0] for answers in alone]
    assert len({round(value, 4) for value in probabilities}) == len(images)


def test_a_batch_that_is_filled_up_has_the_same_answers(package: ModelPackage) -> None:
    settings = AnalysisSettings(threads=1)
    session = make_session(package, settings)
    runs = SizedRuns(session, OUTPUTS, 64, most=4)
    images = np.random.default_rng(1).standard_normal((4, 3, 64, 64)).astype(np.float32)
    for chosen in ([0], [3, 1, 2], [0, 1, 2, 3], [2, 1], [1]):
        found = runs.run(images[chosen])
        expected = session.run(list(OUTPUTS), {"image": images[chosen]})
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_session_on_all_cores_scores_one_image_at_a_time(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = len(os.sched_getaffinity(0))
    assert [runs_at_once(threads) for threads in (0, cores, 2 * cores, 1)] == [1, 1, 1, cores]
    runner = OnnxRunner(package, AnalysisSettings(threads=0), None)
    session, inside, most = runner._session, threading.Semaphore(0), []

    class Counting:
        """The session; notes how many are in it at the same time."""

        def run(self, *arguments: object) -> object:
            inside.release()
            most.append(inside._value)
            time.sleep(0.02)
            answers = session.run(*arguments)
            inside.acquire()
            return answers

    monkeypatch.setattr(runner, "_session", Counting())
    size = package.manifest.preprocessing.size
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(runner.run, [np.zeros((1, 3, size, size), dtype=np.float32)] * 8))
    assert most == [1] * 8


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12))],
)
def test_few_batch_sizes_are_run(most: int, expected: tuple[int, ...]) -> None:
    assert batch_sizes(most) == expected


def test_a_batching_analyser_makes_the_same_files(
    settings: AnalysisSettings, analyser: Analyser, tissue: Dataset, saved: Callable[..., Path]
) -> None:
    paths = []
    for number in range(4):
        tissue.SOPInstanceUID = f"1.2.3.{number}"
        tissue.file_meta.MediaStorageSOPInstanceUID = tissue.SOPInstanceUID
        paths.append(saved(tissue, f"{number}.dcm"))

    def files_by(one: Analyser) -> Callable[[Path], object]:
        started_at = datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)
        return lambda path: one.analyse(path, revision=0, started_at=started_at).files

    expected = [files_by(analyser)(path) for path in paths]
    batching = settings.model_copy(update={"batch": 4, "concurrency": 4})
    with closing(Analyser(batching)) as together, ThreadPoolExecutor(4) as threads:
        found = list(threads.map(files_by(together), paths))
    assert found == expected
