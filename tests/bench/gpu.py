"""``make bench-gpu``: what a GPU gives, and how far its answers are from the CPU's.

It needs neither torch nor pydicom, so that it runs where ONNX Runtime for GPUs does.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from service.analysis.gpu import CUDA, TENSORRT, SizedRuns, batch_sizes
from service.analysis.inference import InferenceError, Scorer, make_session, outputs_of
from service.analysis.model_package import ModelPackage, load_model_package
from service.analysis.onnx_runtime import ort
from service.analysis.preprocessing import preprocess
from service.sections import REFERENCE_MODEL, AnalysisSettings

NO_GPU = 2
"""Exit code where ONNX Runtime has no GPU to run on."""
_WAYS = ((CUDA, "float32"), (CUDA, "tf32"), (TENSORRT, "float32"), (TENSORRT, "float16"))
_PICTURES = {".png", ".jpg", ".jpeg", ".bmp"}

Runs = Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]


@dataclass(frozen=True)
class Row:
    """images_per_second, milliseconds (median of a run) of one way at one batch size.

    probability, cam: the largest differences to the CPU's float32 over all pictures: of the
        malignant probability; of the two maps, each divided by its maximum.
    """

    provider: str
    precision: str
    way: str
    batch: int
    images_per_second: float
    milliseconds: float
    probability: float | None = None
    cam: float | None = None


def bench_gpu(
    model: Annotated[Path, typer.Option(help="A model package.")] = REFERENCE_MODEL,
    largest: Annotated[int, typer.Option(help="Batches of 1, 2, 4, … and this.", max=64)] = 8,
    seconds: Annotated[float, typer.Option(help="Of each measurement.")] = 3,
    images: Annotated[
        Path | None, typer.Option(help="Folder of PNG or JPEG to compare on; else speckle.")
    ] = None,
    engines: Annotated[Path, typer.Option(help="TensorRT's engines.")] = Path("build/engines"),
    out: Annotated[Path, typer.Option(help="The rows as JSON.")] = Path("build/bench/gpu.json"),
) -> None:
    """Measure CUDA and TensorRT against this machine's CPU. Exit code 2 without a GPU."""
    console = Console(width=140)
    offered = [name for name, _ in _WAYS if name in ort.get_available_providers()]
    if not offered:
        console.print(
            f"This ONNX Runtime ({ort.__version__}) has no GPU provider, only "
            f"{', '.join(ort.get_available_providers())}: install onnxruntime-gpu in its place."
        )
        raise typer.Exit(NO_GPU)
    package = load_model_package(model)
    pictures = list(_pictures(images, largest))
    size = package.manifest.preprocessing
    inputs = np.stack([preprocess(picture, size) for picture in pictures])
    cpu = make_session(package, AnalysisSettings(providers=("CPUExecutionProvider",)))
    outputs = list(outputs_of(package))
    truth = [cpu.run(outputs, {"image": one[None]}) for one in inputs]
    rows = [
        _measured(
            "CPU", "float32", "session.run", lambda x: _plain(cpu, outputs, x), inputs[:1], seconds
        )
    ]
    for provider, precision in _WAYS:
        if provider not in offered:
            continue
        settings = AnalysisSettings(
            providers=(provider, "CPUExecutionProvider"),
            require_gpu=True,
            batch=largest,
            concurrency=largest,
            fp16=precision == "float16",
            tf32=precision == "tf32",
        )
        try:
            found = _measure_way(package, settings, precision, inputs, truth, engines, seconds)
            rows += found
            rows.append(_measured_scorer(package, settings, precision, pictures, engines, seconds))
        except InferenceError as error:
            console.print(f"{provider}, {precision}: {error}")
    _show(rows, console)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps([asdict(row) for row in rows], indent=2))
    if len(rows) == 1:
        console.print("ONNX Runtime offers a GPU provider, but nothing ran on a GPU.")
        raise typer.Exit(NO_GPU)


def _measure_way(
    package: ModelPackage,
    settings: AnalysisSettings,
    precision: str,
    inputs: NDArray[np.float32],
    truth: Sequence[Sequence[NDArray[np.float32]]],
    engines: Path,
    seconds: float,
) -> list[Row]:
    """Each batch size. Raises InferenceError."""
    wanted = settings.providers[0]
    began = time.perf_counter()
    session = make_session(package, settings, engines)
    provider = session.get_providers()[0]
    if provider != wanted:
        raise InferenceError(f"it runs on {provider}")
    outputs = list(outputs_of(package))
    runs = SizedRuns(session, outputs, inputs.shape[-1], most=settings.batch)
    print(f"{provider}, {precision}: ready after {time.perf_counter() - began:.1f} s", flush=True)
    rows = []
    for batch in batch_sizes(settings.batch):
        row = _measured(provider, precision, "session.run", runs.run, inputs[:batch], seconds)
        probability, cam = _differences(runs.run, batch, inputs, truth, package)
        rows.append(Row(**{**asdict(row), "probability": probability, "cam": cam}))
    return rows


def _measured(
    provider: str,
    precision: str,
    way: str,
    run: Runs,
    inputs: NDArray[np.float32],
    seconds: float,
) -> Row:
    for _ in range(3):
        run(inputs)
    spent: list[float] = []
    while sum(spent) < seconds:
        began = time.perf_counter()
        run(inputs)
        spent.append(time.perf_counter() - began)
    rate = len(inputs) * len(spent) / sum(spent)
    return Row(provider, precision, way, len(inputs), rate, 1000 * statistics.median(spent))


def _measured_scorer(
    package: ModelPackage,
    settings: AnalysisSettings,
    precision: str,
    pictures: Sequence[NDArray[np.uint8]],
    engines: Path,
    seconds: float,
) -> Row:
    """The service's own scorer under as many threads as it has tasks, preprocessing included."""
    spent: list[float] = []

    def score(picture: NDArray[np.uint8]) -> None:
        began = time.perf_counter()
        scorer.score(picture)
        spent.append(time.perf_counter() - began)

    with (
        closing(Scorer(package, settings, engines)) as scorer,
        ThreadPoolExecutor(settings.concurrency) as threads,
    ):
        list(threads.map(score, [*pictures] * 2))
        spent.clear()
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            list(threads.map(score, [*pictures] * 8))
        rate = len(spent) / (time.perf_counter() - began)
        way = f"scorer with batcher, {settings.concurrency} threads"
        median = 1000 * statistics.median(spent)
        return Row(scorer.provider, precision, way, settings.batch, rate, median)


def _differences(
    run: Runs,
    batch: int,
    inputs: NDArray[np.float32],
    truth: Sequence[Sequence[NDArray[np.float32]]],
    package: ModelPackage,
) -> tuple[float, float]:
    """The largest of the malignant probability, and of the normalised maps."""
    probability = cam = 0.0
    column = package.manifest.malignant_index
    for first in range(0, len(inputs), batch):
        answers = run(inputs[first : first + batch])
        for number, expected in enumerate(truth[first : first + batch]):
            found = [answer[number] for answer in answers]
            difference = found[0][column] - expected[0][0, column]
            probability = max(probability, abs(float(difference)))
            for ours, theirs in zip(found[1:3], expected[1:3], strict=True):
                gap = np.abs(_normalised(ours) - _normalised(theirs[0]))
                cam = max(cam, float(gap.max()))
    return probability, cam


def _normalised(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    return grid / max(float(grid.max()), 1e-12)


def _plain(
    session: ort.InferenceSession, outputs: list[str], images: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    answers: list[NDArray[np.float32]] = session.run(outputs, {"image": images})
    return answers


def _pictures(folder: Path | None, most: int) -> Iterator[NDArray[np.uint8]]:
    """``(H, W)`` uint8: those of the folder, or speckle around a dark spot that grows."""
    if folder is not None:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _PICTURES)
        if len(files) < most:
            sys.exit(f"{folder} has {len(files)} pictures; at least {most} are needed")
        for path in files[:: len(files) // most][:most]:
            with Image.open(path) as image:
                yield np.asarray(image.convert("L"))
        return
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1:1:360j, -1:1:480j]
    for number in range(most):
        spot = np.hypot(rows, columns) < 0.1 + 0.6 * number / most
        echo = rng.rayleigh(np.where(spot, 15, 60))
        yield np.clip(echo, 0, 255).astype(np.uint8)


def _show(rows: Sequence[Row], console: Console) -> None:
    names = ("provider", "precision", "way", "batch", "images/s", "ms a run", "Δ probability")
    table = Table(*names, "Δ CAM")
    for row in rows:
        gaps = ("" if gap is None else f"{gap:.1e}" for gap in (row.probability, row.cam))
        figures = (f"{row.images_per_second:.1f}", f"{row.milliseconds:.2f}")
        table.add_row(row.provider, row.precision, row.way, str(row.batch), *figures, *gaps)
    console.print(table)


if __name__ == "__main__":
    typer.run(bench_gpu)
