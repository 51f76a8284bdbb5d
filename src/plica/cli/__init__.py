"""The command line: one small module per group of commands; heavy imports happen inside the commands."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the entry point of ``plica``."""
    from plica.cli.app import run

    run()
