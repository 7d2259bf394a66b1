"""The shadow's child process: another model, which gives way to everything else here.

``python -P -m service.shadow.child``. A request is one line of JSON on standard input, an answer
one line of JSON on standard output:

- first the ``AnalysisSettings`` and ``"engines": folder`` → ``{"provider": name}``
- ``{"path": p}`` → the fields of ``service.journal.shadow_records.Said``
- either → ``{"error": words}``, which hold none of the data

Standard error goes nowhere: what the libraries write there may quote the data set.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from service.analysis.analyser import Analyser


def main() -> None:
    """Serve until standard input ends."""
    _give_way()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    warnings.simplefilter("ignore")
    _serve(sys.stdin.buffer, answers)


def _give_way() -> None:
    """Run only where a processor has nothing else to do, and be the first whom a lack of memory
    kills. Before numpy and ONNX Runtime are imported: their threads inherit it.
    """
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    from service.analysis.inference import InferenceError
    from service.analysis.model_package import ModelPackageError
    from service.log import fault

    def answer(told: dict[str, object]) -> None:
        answers.write(json.dumps(told).encode() + b"\n")
        answers.flush()

    try:
        analyser = _analyser(json.loads(requests.readline()))
    except (InferenceError, ModelPackageError) as error:
        answer({"error": " ".join(str(error).split())})
        return
    answer({"provider": analyser.provider})
    for line in requests:
        try:
            told = _said(analyser, Path(json.loads(line)["path"]))
        except Exception as error:  # noqa: BLE001 whatever it is, it is no reason to end
            told = {"error": fault(error)}
        answer(told)


def _analyser(request: dict[str, object]) -> Analyser:
    from service.analysis.analyser import Analyser
    from service.results import ResultCheck
    from service.sections import AnalysisSettings

    engines = Path(str(request.pop("engines")))
    settings = AnalysisSettings.model_validate(request)
    return Analyser(settings, engines, wanted=frozenset(), check=ResultCheck(False))


def _said(analyser: Analyser, path: Path) -> dict[str, object]:
    from dataclasses import asdict
    from datetime import UTC, datetime

    from service.journal.records import ImageState
    from service.journal.shadow_records import Said, ShadowState

    outcome = analyser.analyse(path, revision=0, started_at=datetime.now(UTC)).outcome
    scored = outcome.state is ImageState.ANALYSED
    return asdict(
        Said(
            ShadowState.SCORED if scored else ShadowState.NOT_ANALYSABLE,
            outcome.reason,
            outcome.probability_malignant,
            outcome.probability_benign,
            outcome.threshold,
            outcome.decision,
            outcome.unlike_training,
        )
    )


if __name__ == "__main__":
    main()
