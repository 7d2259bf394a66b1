"""``secondread-model``: thin commands; each imports what it needs when it runs."""

from __future__ import annotations


def main() -> None:
    """The entry point ``secondread-model``."""
    from model_export.cli.app import run

    run()
