"""``make chaos``: a storm over both profiles, and its report."""

from __future__ import annotations

import json
import random
import signal
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.chaos import storm
from tests.chaos.faults import STEPS
from tests.chaos.hospital import EMBEDDED, PROFILES, SERVERS
from tests.system.conftest import make_small_model

_IMAGES_A_ROUND = 1000
# Without PostgreSQL's share: with it everything below would need a name in both profiles.
_STEPS = {EMBEDDED: STEPS[::2], SERVERS: STEPS[1::2]}

_NEEDS_RIGHTS = "disk full"
"""Needs the right to mount a tmpfs; without it the report says so, and the run goes on."""


def storms(images: int, seed: int, show: Console) -> dict[str, storm.Outcome]:
    """Half of the images through each profile; by profile what became of them."""
    outcomes = {}
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="secondread-chaos-") as scratch:
        Path(scratch).chmod(0o755)  # PostgreSQL has a user of its own
        (Path(scratch) / "model").mkdir()
        model = make_small_model(Path(scratch) / "model")
        rounds = max(1, images // _IMAGES_A_ROUND)
        for number, profile in enumerate(PROFILES):
            folder = Path(scratch) / profile
            folder.mkdir()
            # Every step in each profile where there is more than one round.
            steps = _STEPS[profile] if rounds == 1 else STEPS
            with Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=show,
            ) as bar:
                task = bar.add_task(profile, total=None)

                def progress(what: str, task=task, bar=bar, profile=profile) -> None:
                    bar.update(task, description=f"{profile}: {what}", advance=1)
                    if not show.is_terminal:
                        show.log(f"{profile}: {what}")

                outcomes[profile] = storm.run(
                    folder,
                    profile,
                    model,
                    images=images // 2 + (images % 2) * (1 - number),
                    chance=chance,
                    rounds=rounds,
                    steps=steps,
                    progress=progress,
                )
    return outcomes


def report(
    outcomes: dict[str, storm.Outcome], images: int, seed: int, seconds: float
) -> dict[str, Any]:
    faults: Counter[str] = Counter()
    skipped: dict[str, str] = {}
    recovery: dict[str, list[float]] = defaultdict(list)
    for outcome in outcomes.values():
        faults.update(outcome.made)
        skipped |= outcome.skipped
        for kind, times in outcome.recovery.items():
            recovery[kind] += times
    accounts = {profile: outcome.accounts for profile, outcome in outcomes.items()}
    every = list(accounts.values())
    never = sorted(kind for kind in skipped if not faults[kind])
    return {
        "images": images,
        "seed": seed,
        "acknowledged": sum(each.acknowledged for each in every),
        "lost": sum(len(each.lost) for each in every),
        "doubled": sum(len(each.doubled) for each in every),
        "orphans": sum(len(each.orphans) for each in every),
        "inconsistent": sum(len(each.inconsistent) for each in every),
        "faults": dict(sorted(faults.items())),
        "faults_not_made": {kind: skipped[kind] for kind in never},
        "steps_hit": sorted(step for step in STEPS if faults[f"kill {step}"]),
        "recovery_seconds": {
            kind: {
                "median": round(statistics.median(times), 2),
                "max": round(max(times), 2),
                "times": len(times),
            }
            for kind, times in sorted(recovery.items())
        },
        "retransmissions": sum(each.retransmissions for each in every),
        "store_attempts": sum(outcome.attempts for outcome in outcomes.values()),
        "replayed_by_the_operator": sum(outcome.replayed for outcome in outcomes.values()),
        "failed_with_a_reason": sum(each.failed for each in every),
        "states": {profile: dict(each.states) for profile, each in accounts.items()},
        "problems": [text for outcome in outcomes.values() for text in outcome.problems],
        "details": [
            text
            for each in every
            for text in (*each.lost, *each.doubled, *each.orphans, *each.inconsistent)
        ][:50],
        "seconds": round(seconds),
    }


def is_good(told: dict[str, Any]) -> bool:
    bad = ("lost", "doubled", "orphans", "inconsistent", "problems")
    never = told["faults_not_made"].keys() - {_NEEDS_RIGHTS}
    return not never and not any(told[name] for name in bad)


def markdown(told: dict[str, Any]) -> str:
    lines = [
        f"# Chaos: {told['images']} images, seed {told['seed']}",
        "",
        "| acknowledged | lost | doubled | orphans | inconsistent | retransmitted | replayed"
        " | seconds |",
        "|---|---|---|---|---|---|---|---|",
        f"| {told['acknowledged']} | {told['lost']} | {told['doubled']} | {told['orphans']} |"
        f" {told['inconsistent']} | {told['retransmissions']} |"
        f" {told['replayed_by_the_operator']} | {told['seconds']} |",
        "",
        "| fault | times | recovery, median s | max s |",
        "|---|---|---|---|",
    ]
    for kind, number in told["faults"].items():
        recovery = told["recovery_seconds"].get(kind, {"median": "", "max": ""})
        lines.append(f"| {kind} | {number} | {recovery['median']} | {recovery['max']} |")
    for title, texts in (
        ("Not made", [f"{kind}: {why}" for kind, why in told["faults_not_made"].items()]),
        ("Problems", told["problems"]),
        ("Details", told["details"]),
    ):
        if texts:
            lines += ["", f"## {title}", "", *(f"- {text}" for text in texts)]
    return "\n".join(lines) + "\n"


def chaos(
    images: int = typer.Option(200, min=20, help="Images, over both profiles."),
    seed: int = typer.Option(7, help="The same seed makes the same storm."),
    folder: str = typer.Option("build/chaos", help="Where the report goes."),
) -> None:
    """Kill, freeze, fill and lie to everything while images come in; then count."""
    # Told to end, it leaves nothing running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    show = Console()
    started = time.monotonic()
    outcomes = storms(images, seed, show)
    told = report(outcomes, images, seed, time.monotonic() - started)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    (place / "report.json").write_text(json.dumps(told, indent=2) + "\n")
    (place / "report.md").write_text(markdown(told))
    show.print(markdown(told))
    if not is_good(told):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(chaos)
