"""One image's analysis, from the spooled file to the files of its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from dicom_sr.finding import Box, Finding, NotAnalysed
from dicom_sr.reference import InstanceReference
from dicom_sr.source import ReportError, header_text
from service.analysis.decode import Decoder
from service.analysis.decode_error import DecodeError
from service.analysis.inference import Score, Scorer
from service.analysis.model_package import ModelPackage, load_model_package
from service.analysis.objects import Edition, ResultMaker
from service.analysis.pixels import require_known_syntax
from service.analysis.screening import Screened, screen_frame, screen_header
from service.destination import ObjectKind
from service.journal.records import AnalysisOutcome, ImageState
from service.results import ResultCheck
from service.scanner_model import scanner_model
from service.sections import AnalysisSettings
from service.still_image import wrap_pixels

_LONGEST_UID = 64

REPORT_AND_OVERLAY = frozenset({ObjectKind.REPORT, ObjectKind.OVERLAY})


@dataclass(frozen=True)
class Analysis:
    """outcome: for the journal. files: name and bytes of each result, for the spool."""

    outcome: AnalysisOutcome
    files: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class _Scored:
    """One box of one frame, and its score."""

    number: int
    frame: NDArray[np.uint8]
    screened: Screened
    box: Box
    score: Score


@dataclass(frozen=True)
class _Examined:
    """A finding, and the whole frame that it is about, ``(H, W, 3)`` uint8 RGB."""

    finding: Finding
    frame: NDArray[np.uint8]


class Analyser:
    """A loaded model and a decoder process; safe to use from several threads.

    package: the model; that of the settings by default.
    engine_cache, on_run: see ``Scorer``.
    wanted: which objects it makes of an image.
    check: what they must pass.
    Raises ModelPackageError or InferenceError if the model cannot be used.
    """

    def __init__(
        self,
        settings: AnalysisSettings,
        engine_cache: Path | None = None,
        *,
        package: ModelPackage | None = None,
        wanted: frozenset[ObjectKind] = REPORT_AND_OVERLAY,
        check: ResultCheck | None = None,
        on_run: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.package = package or load_model_package(settings.model)
        self._threshold = self.package.manifest.threshold_of(settings.operating_point)
        self._settings = settings
        self._maker = ResultMaker(self.package.identity, wanted, check or ResultCheck())
        self._decoder = Decoder(settings.decode_seconds, settings.decode_megabytes)
        try:
            self._scorer = Scorer(self.package, settings, engine_cache, on_run)
        except BaseException:
            self._decoder.close()
            raise
        try:
            self._warm_up()
        except BaseException:
            self.close()
            raise

    @property
    def provider(self) -> str:
        """What really runs the model."""
        return self._scorer.provider

    def what_is_wrong(self) -> str | None:
        """Why nothing can be analysed now, in one line; None while all is well."""
        return self._scorer.what_is_wrong()

    def close(self) -> None:
        """End the decoder process and the batcher."""
        self._decoder.close()
        self._scorer.close()

    def analyse(
        self,
        path: Path,
        *,
        revision: int,
        started_at: datetime,
        edition: int = 0,
        predecessor: InstanceReference | None = None,
    ) -> Analysis:
        """Analyse a DICOM Part 10 file.

        revision: 0 for the first content under the image's SOP Instance UID, 1 for the next, …
        started_at: timezone-aware; the results' date and time. With the same arguments the result
            files are the same byte for byte.
        edition: 0 for the first result of this content, 1 for the one that replaces it, …
        predecessor: the report that this one replaces.

        An image that cannot be analysed is an outcome with a reason; what is raised
        (InferenceError, InvalidObject or anything else) is our fault.
        """
        watch = _Stopwatch()
        try:
            with watch.measure("decode"):
                # The child comes first: a file that cannot be parsed within limits is left there.
                frames = self._decoder.number_of_frames(path)
                header = dcmread(path, stop_before_pixels=True)
        except DecodeError as error:
            return self._without_report(NotAnalysed(error.code, error.text), watch)
        study = header_text(header, "StudyInstanceUID")[:_LONGEST_UID] or None
        result = self._examine(path, header, frames, watch)
        try:
            with watch.measure("report"):
                made = self._maker.make(
                    header,
                    result if isinstance(result, NotAnalysed) else result.finding,
                    None if isinstance(result, NotAnalysed) else result.frame,
                    Edition(revision, started_at, edition, predecessor),
                )
        except ReportError:
            refusal = NotAnalysed(
                "incomplete-header", "The header lacks a valid UID or Patient ID for a report."
            )
            return self._without_report(refusal, watch)
        if isinstance(result, NotAnalysed):
            outcome = self._refused(result, watch)
        else:
            outcome = self._analysed(result.finding, watch)
        outcome = replace(
            outcome,
            objects=made.objects,
            uids=made.uids,
            study_instance_uid=study,
            scanner_model=scanner_model(header),
        )
        return Analysis(outcome, made.files)

    def _examine(
        self, path: Path, header: Dataset, frames: int, watch: _Stopwatch
    ) -> _Examined | NotAnalysed:
        try:
            require_known_syntax(header)
            with watch.measure("screen"):
                refusal = screen_header(header)
            return refusal or self._most_suspicious(path, header, frames, watch)
        except DecodeError as error:
            return NotAnalysed(error.code, error.text)

    def _most_suspicious(
        self, path: Path, header: Dataset, frames: int, watch: _Stopwatch
    ) -> _Examined | NotAnalysed:
        """Score the chosen frames; a frame that the screen refuses is left out.

        Raises DecodeError.
        """
        numbers = chosen_frames(frames, self._settings.frame_stride, self._settings.max_frames)
        refusals: list[NotAnalysed] = []
        best: _Scored | None = None
        for number in numbers:
            with watch.measure("decode"):
                frame = self._decoder.frame(path, number)
            with watch.measure("screen"):
                screened = screen_frame(header, frame, self._settings.coloured_share)
            if isinstance(screened, NotAnalysed):
                refusals.append(screened)
                continue
            for box in screened.boxes:
                with watch.measure("inference"):
                    score = self._scorer.score(_inside(frame, box))
                if best is None or score.probability_malignant > best.score.probability_malignant:
                    best = _Scored(number, frame, screened, box, score)
        if best is None:
            return refusals[0]
        if self._settings.unlike_training == "refuse" and self._scorer.unlike_training(best.score):
            return NotAnalysed(
                "unlike-training", "The image is unlike those that the model was trained on."
            )
        with watch.measure("inference"):
            return self._finding(best, len(numbers), refusals)

    def _finding(self, best: _Scored, frames: int, refusals: list[NotAnalysed]) -> _Examined:
        """frames: how many were chosen. refusals: of those among them that were left out."""
        score, remarks = best.score, best.screened.remarks
        if refusals:
            remarks += (f"{len(refusals)} frames were left out: {refusals[0].text}",)
        unlike = self._scorer.unlike_training(score)
        gate = self.package.manifest.out_of_distribution
        if unlike and gate is not None:
            remarks += (
                "The image is unlike those that the model was trained on (distance "
                f"{score.distance:.2f}, limit {gate.limit:.2f}), so the score means little.",
            )
        finding = Finding(
            frame=best.number,
            frames_scored=frames - len(refusals),
            region=best.box,
            region_source=best.screened.source,
            probability_malignant=score.probability_malignant,
            probability_benign=score.probability_benign,
            threshold=self._threshold,
            cam=np.zeros((best.box.height, best.box.width), dtype=np.float32),
            remarks=remarks,
            unlike_training=unlike,
        )
        cam = self._scorer.heatmap(score, finding.decision, best.box)
        return _Examined(replace(finding, cam=cam), best.frame)

    def _without_report(self, refusal: NotAnalysed, watch: _Stopwatch) -> Analysis:
        return Analysis(self._refused(refusal, watch), ())

    def _refused(self, refusal: NotAnalysed, watch: _Stopwatch) -> AnalysisOutcome:
        manifest = self.package.manifest
        return AnalysisOutcome(
            state=ImageState.NOT_ANALYSABLE,
            model_sha256=manifest.sha256,
            model_name=manifest.name,
            model_version=manifest.version,
            reason=refusal.code,
            reason_text=refusal.text,
            stage_seconds=watch.seconds,
        )

    def _analysed(self, finding: Finding, watch: _Stopwatch) -> AnalysisOutcome:
        box, manifest = finding.region, self.package.manifest
        return AnalysisOutcome(
            state=ImageState.ANALYSED,
            model_sha256=manifest.sha256,
            model_name=manifest.name,
            model_version=manifest.version,
            frame=finding.frame,
            frames_scored=finding.frames_scored,
            region=(box.left, box.top, box.right, box.bottom),
            probability_malignant=finding.probability_malignant,
            probability_benign=finding.probability_benign,
            threshold=finding.threshold,
            decision=finding.decision.value,
            unlike_training=finding.unlike_training,
            stage_seconds=watch.seconds,
        )

    def _warm_up(self) -> None:
        """Make one report and overlay: the first of a process takes half a second more."""
        edge = 64
        frame = np.zeros((edge, edge, 3), dtype=np.uint8)
        finding = Finding(
            frame=1,
            frames_scored=1,
            region=Box(0, 0, edge, edge),
            region_source="warm-up",
            probability_malignant=0.0,
            probability_benign=1.0,
            threshold=self._threshold,
            cam=np.zeros((edge, edge), dtype=np.float32),
        )
        source = wrap_pixels(frame, "warm-up")
        self._maker.make(source, finding, frame, Edition(0, datetime.now(UTC)))


def chosen_frames(frames: int, stride: int, most: int) -> tuple[int, ...]:
    """Which frames of a cine are scored: each ``stride``-th, at most ``most``, evenly spread.

    Returns 1-based numbers in their order; the first frame is always among them.
    """
    each = range(1, frames + 1, stride)
    if len(each) <= most:
        return tuple(each)
    return tuple(each[index * len(each) // most] for index in range(most))


class _Stopwatch:
    """Seconds by stage; a stage that is entered again is added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self.seconds[stage] = self.seconds.get(stage, 0.0) + elapsed


def _inside(frame: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    return frame[box.top : box.bottom, box.left : box.right]
