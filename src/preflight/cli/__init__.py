"""The command line: options, streams and exit codes. The only code that knows Typer."""

from __future__ import annotations

import sys

_MEASURING = {"check", "facts", "explain"}


def main() -> None:
    """Run the program: the readers are started before anything else is even imported."""
    arguments = sys.argv[1:]
    command = next((word for word in arguments if not word.startswith("-")), None)
    readers = None
    if command in _MEASURING and not {"--help", "--facts"} & set(arguments):
        from preflight.probes.spawn import start_readers

        readers = start_readers()
    try:
        from preflight.cli.app import run

        run(readers)
    finally:
        if readers is not None:
            from preflight.probes.spawn import end

            end(readers)
