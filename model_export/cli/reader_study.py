"""``secondread-model reader-study``: work lists, answers, analysis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from model_export.dataset import LabelledImage

WASHOUT_BROKEN = 3

reader_study_app = typer.Typer(
    help="A blinded study of readers without and with the model: make the work lists, collect the "
    "answers, analyse them.",
    no_args_is_help=True,
    add_completion=False,
)


@reader_study_app.command()
def analyse(
    readings: Annotated[
        Path,
        typer.Argument(
            metavar="CSV",
            exists=True,
            dir_okay=False,
            help="CSV with case, truth, birads_1, birads_2 and, if known, reader, ai_score, "
            "date_1, date_2.",
        ),
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for tables and figure.")],
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Judge the model alone too, malignant from this score on."),
    ] = None,
    washout_days: Annotated[
        int, typer.Option(min=0, help="Days that must lie between the two readings of a case.")
    ] = 14,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Table 3 of a reader study: reading 1 without the model, reading 2 with it.

    BI-RADS 3 and 4A are benign, 4B and 4C malignant; a line with anything else is left out with
    its reason. Paired tests are McNemar's, AUCs are compared by DeLong (one reader) or by
    Obuchowski–Rockette (several). Writes Markdown, CSV, JSON and a ROC figure.

    Exit code 3 if the washout was broken: all is written, and the broken readings are listed.
    """
    from rich.console import Console

    from model_export.reader_study.readings import read_readings
    from model_export.reader_study.report import introduction, study_tables, write_study
    from model_export.reader_study.study import analyse_study

    study = analyse_study(read_readings(readings), washout_days, threshold, seed)
    write_study(study, out)
    console = Console()
    for line in introduction(study):
        console.print(line, highlight=False, soft_wrap=True)
    for table in study_tables(study):
        table.print(console)
    console.print(f"wrote {out}", highlight=False, soft_wrap=True)
    if study.washout.breaches:
        raise typer.Exit(WASHOUT_BROKEN)


@reader_study_app.command()
def worklists(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            exists=True,
            file_okay=False,
            help="Folder with manifest.csv and its images.",
        ),
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="New folder for both sessions.")],
    where: Annotated[
        str | None, typer.Option(help="Which images: COLUMN=VALUE[,VALUE…], such as split=test.")
    ] = None,
    heatmaps: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            show_default="the reference model",
            help="Model package that scores the images, or folder with a picture NAME.png for "
            "each image and, if wanted, scores.csv (file, score).",
        ),
    ] = None,
    reader: Annotated[
        list[str] | None,
        typer.Option(help="Code of a reader, for an answer sheet of their own; may be repeated."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            show_default="drawn anew", help="Of the lots; who knows it and the data knows the key."
        ),
    ] = None,
    training_set: Annotated[
        bool, typer.Option("--training-set", help="Allow images that the model was trained on.")
    ] = False,
) -> None:
    """Make the folders of the two blinded reading sessions, and the key to them.

    Session 1 shows the images alone, session 2 with heatmap and score; each in an order of its own
    under neutral numbers, with an answer sheet and a README. Keep key.csv from the readers. Text
    that is burned into an image stays in it. One image a case: choose them with --where.
    """
    from contextlib import ExitStack

    from rich.console import Console
    from rich.progress import track

    from model_export.dataset import read_manifest, select
    from model_export.reader_study.heatmaps import FolderHeatmaps, PackageHeatmaps
    from model_export.reader_study.worklists import make_work_lists
    from service.analysis.model_package import MANIFEST_FILE
    from service.sections import REFERENCE_MODEL

    errors = Console(stderr=True)
    folder = read_manifest(data)
    images = select(folder, where)
    source = heatmaps or REFERENCE_MODEL
    patients = len({image.patient for image in images})
    if patients < len(images):
        errors.print(
            f"{len(images)} images show {patients} patients: the analysis takes cases for "
            "independent, so choose one image a patient with --where",
            style="bold yellow",
            soft_wrap=True,
        )
    with ExitStack() as stack:
        show: FolderHeatmaps | PackageHeatmaps
        if (source / MANIFEST_FILE).is_file():
            _check_provenance(source, images, folder, training_set, errors)
            show = PackageHeatmaps(source)
            stack.callback(show.close)
        else:
            show = FolderHeatmaps(source)
        lists = make_work_lists(
            track(images, "images", console=errors, transient=True),
            show,
            out,
            seed,
            reader or (),
        )
    errors.print(
        f"wrote {out}: {lists.cases} cases in two sessions, {len(lists.left_out)} images left out "
        "(left_out.csv); keep key.csv from the readers",
        highlight=False,
        soft_wrap=True,
    )


def _check_provenance(
    package: Path,
    images: list[LabelledImage],
    folder: list[LabelledImage],
    training_set: bool,
    errors: Console,
) -> None:
    """Raises ValueError if the model was trained on the images, unless that is said."""
    from model_export.prediction import load_predictor
    from model_export.provenance import CHOOSE_OTHERS, digests_of, refuse_training_images, standing

    predictor = load_predictor(package)
    found = standing(predictor, images, folder, digests_of(folder))
    if not training_set:
        refuse_training_images(predictor.name, found, CHOOSE_OTHERS)
    if found.mark(training_set):
        errors.print(found.mark(training_set), style="bold yellow", soft_wrap=True)


@reader_study_app.command()
def collect(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", exists=True, file_okay=False, help="What `worklists` made."),
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="CSV for `analyse`.")],
    incomplete: Annotated[
        bool,
        typer.Option(
            "--incomplete",
            help="Write in spite of gaps; `analyse` leaves them out and counts them.",
        ),
    ] = False,
) -> None:
    """Read the filled answer sheets and the key back.

    Names each missing or wrong answer by sheet, line and case number; then nothing is written
    unless --incomplete is given (answers that cannot be told apart always stop it).
    """
    from rich.console import Console

    from model_export.reader_study.answers import collect_answers, write_readings

    collected = collect_answers(folder)
    errors = Console(stderr=True)
    for problem in collected.problems:
        errors.print(str(problem), highlight=False, markup=False, soft_wrap=True)
    fatal = sum(problem.fatal for problem in collected.problems)
    if fatal or (collected.problems and not incomplete):
        hint = "" if fatal else "; mend them, or say --incomplete"
        raise ValueError(
            f"{len(collected.problems)} answers are missing or wrong, nothing was written{hint}"
        )
    write_readings(collected, out)
    errors.print(
        f"wrote {out}: {len(collected.rows)} pairs of readings", highlight=False, soft_wrap=True
    )
