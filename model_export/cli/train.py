"""``secondread-model train``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from model_export.cli.options import Data


def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Run folder; an interrupted run continues there.")],
    training: Annotated[
        str, typer.Option("--train", help="Which images train: COLUMN=VALUE[,VALUE…].")
    ] = "split=train",
    validation: Annotated[
        str,
        typer.Option(help="Which images choose the epoch, the temperature and the thresholds."),
    ] = "split=validation",
    backbone: Annotated[
        str | None,
        typer.Option(
            help="vgg16, googlenet, alexnet, resnet50, vit_b_16 or densenet121.",
            show_default="resnet50",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Initial weights: `torchvision` (needs the internet), a .npz or .pt state dict "
            "of the torchvision model, an earlier run's folder or a model package; random ones "
            "without it."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="TOML file with the plan's keys (see the manual)."
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="One key of the plan, as TOML; wins over the file."
        ),
    ] = None,
    fact: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TEXT", help="A line for the model card, such as data='BUS-BRA, …'."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 lets torch choose.")] = 0,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu (Lightning's names).")] = "auto",
    devices: Annotated[
        str, typer.Option(help="How many, or which (`0,1`); auto takes all.")
    ] = "auto",
) -> None:
    """Train a backbone with the study's head on a prepared folder.

    Writes into --out: model.pt (for `export`, `evaluate`, `compare`, `explain`), history.csv,
    checkpoints, and logs for TensorBoard (`tensorboard --logdir OUT/logs`).
    """
    import torch
    from rich.console import Console

    from model_export.dataset import read_manifest, select
    from model_export.training.plan import read_plan
    from model_export.training.run import train

    overrides: dict[str, Any] = dict(_pair(text) for text in change or ())
    if backbone is not None:
        overrides["backbone"] = backbone
    plan = read_plan(config, overrides)
    facts = dict(text.partition("=")[::2] for text in fact or ())
    if threads:
        torch.set_num_threads(threads)
    images = read_manifest(data)
    checkpoint = train(
        plan,
        select(images, training),
        select(images, validation),
        out,
        weights=weights,
        facts={"data": data.name, "training images": training, **facts},
        accelerator=accelerator,
        devices=devices,
    )
    points = ", ".join(
        f"{p.name} {p.threshold:.3f}" for p in checkpoint.calibration.operating_points
    )
    Console(stderr=True).print(
        f"wrote {out / 'model.pt'}: validation AUC {checkpoint.facts['validation AUC']}, "
        f"operating points {points}; next: secondread-model export {out}",
        highlight=False,
    )


def _pair(text: str) -> tuple[str, Any]:
    """``key=value`` with a TOML value; a bare word is taken for text."""
    key, _, value = text.partition("=")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value
