"""The command line: thin commands over the service; each imports what it needs when it runs."""

from __future__ import annotations


def main() -> None:
    """The entry point ``secondread``."""
    from service.cli.app import run

    run()
