"""The command line: options, streams and exit codes. The only code that knows Typer."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress

_MEASURING_COMMANDS = {"check", "init", "facts", "explain", "fix", "models", "bundle"}


def _needs_measurement(command: str | None, arguments: list[str]) -> bool:
    if {"--help", "-h", "--facts"} & set(arguments):
        return False
    live = any(word.startswith(("--container", "--compose")) for word in arguments)
    return command in _MEASURING_COMMANDS or (command == "diagnose" and live)


def main() -> None:
    """Run the program; a worker starts to measure before anything else is imported."""
    worker = None
    try:
        gc.disable()  # a short life: the end of the process frees all memory
        arguments = sys.argv[1:]
        command = next((word for word in arguments if not word.startswith("-")), None)
        if _needs_measurement(command, arguments):
            from preflight.facts.collect.measurement import start_worker

            with suppress(OSError):  # tried again, and reported, where it is needed
                worker = start_worker()
        from preflight.cli.app import run

        run(worker)
    except KeyboardInterrupt:  # before the program handles interrupts itself
        sys.stderr.write("preflight: interrupted\n")
        sys.exit(130)
    finally:
        if worker is not None:
            from preflight.facts.collect.measurement import stop_worker

            stop_worker(worker)
        import signal

        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # while Python ends, which isn't ours to handle
        gc.freeze()  # skips the last collection, which would visit every object
