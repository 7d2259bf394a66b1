"""Where session 2 has its heatmaps from: a model package, or a folder of pictures."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from model_export.dataset import LabelledImage
from model_export.reader_study.readings import read_score, read_table
from model_export.reader_study.worklists import NotShown, Shown
from service.analysis.analyser import Analyser
from service.offline import as_part10
from service.results import PICTURE_FILE
from service.sections import AnalysisSettings
from service.still_image import UnreadableImage

SCORES_FILE = "scores.csv"


class PackageHeatmaps:
    """The picture that the service itself would send to the archive: screened, cropped, scored.

    Raises ModelPackageError or InferenceError if the package cannot be used.
    """

    def __init__(self, package: Path) -> None:
        self._analyser = Analyser(AnalysisSettings(model=package))

    def close(self) -> None:
        """End the decoder process."""
        self._analyser.close()

    def __call__(self, image: LabelledImage) -> Shown:
        """Raises NotShown if the service would not analyse the image."""
        with tempfile.TemporaryDirectory(prefix="secondread-") as folder:
            try:
                part10 = as_part10(image.path, Path(folder))
            except UnreadableImage:
                raise NotShown("the file cannot be read") from None
            analysis = self._analyser.analyse(part10, revision=0, started_at=datetime.now(UTC))
        picture = dict(analysis.files).get(PICTURE_FILE)
        if picture is None:
            raise NotShown(f"not analysed: {analysis.outcome.reason}")
        with Image.open(BytesIO(picture)) as drawn:
            pixels = np.asarray(drawn.convert("RGB"))
        return Shown(pixels, analysis.outcome.probability_malignant)


class FolderHeatmaps:
    """Pictures made elsewhere: ``NAME.png`` (or .jpg) for an image ``any/NAME.jpg``.

    Scores come from ``scores.csv`` (file, score: 0–1) beside them, if it is there; ``file`` is as
    in the manifest. Raises ValueError if two pictures bear one name.
    """

    def __init__(self, folder: Path) -> None:
        self._pictures: dict[str, Path] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in {".png", ".jpg", ".jpeg"}:
                if path.stem in self._pictures:
                    raise ValueError(f"{folder} has two pictures of one name, such as {path.name}")
                self._pictures[path.stem] = path
        self._scores: dict[str, float] = {}
        if (folder / SCORES_FILE).is_file():
            for line, cells in read_table(folder / SCORES_FILE, ("file", "score")):
                score = read_score(cells["score"])
                if score is None:
                    raise ValueError(f"{folder / SCORES_FILE}, line {line} has no score")
                self._scores[cells["file"]] = score

    def __call__(self, image: LabelledImage) -> Shown:
        """Raises NotShown if the folder has no picture of it."""
        path = self._pictures.get(image.path.stem)
        if path is None:
            raise NotShown("no heatmap of that name")
        with Image.open(path) as drawn:
            return Shown(np.asarray(drawn.convert("RGB")), self._scores.get(image.file))
