"""The command line: options, streams and exit codes.

Scripts and package managers ask for `--version` often, so that alone is answered before anything is
imported; `cli.app` answers it together with other options.
"""

from __future__ import annotations

import gc
import os
import sys

from preflight import __version__

_MEASURING_COMMANDS = {"check", "init", "facts", "explain", "fix", "models", "bundle"}


def _is_measuring_command(command: str | None, arguments: list[str]) -> bool:
    if os.environ.get("PREFLIGHT_FACTS"):
        return False
    if any(word.startswith(("--help", "-h", "--facts")) for word in arguments):
        return False
    live = any(word.startswith(("--container", "--compose")) for word in arguments)
    return command in _MEASURING_COMMANDS or (command == "diagnose" and live)


def _print_version() -> bool:
    """Return whether it was printed; where it can't be, `cli.app` finds out why."""
    try:
        print(f"preflight {__version__}", flush=True)  # noqa: T201
    except (OSError, ValueError):
        return False
    return sys.stdout is not None


def main() -> None:
    """Run the program; a worker starts to measure before anything else is imported."""
    arguments = sys.argv[1:]
    if arguments == ["--version"] and _print_version():
        return
    worker = None
    try:
        gc.disable()  # a short life: the end of the process frees all memory
        command = next((word for word in arguments if not word.startswith("-")), None)
        if _is_measuring_command(command, arguments):
            from preflight.facts.collect.worker_process import start_worker

            try:
                worker = start_worker()
            except OSError:
                pass  # tried again, and reported, where it is needed
        from preflight.cli.app import run_program

        run_program(worker)
    except KeyboardInterrupt:  # before the program handles interrupts itself
        sys.stderr.write("preflight: interrupted\n")
        sys.exit(130)
    finally:
        if worker is not None:
            from preflight.facts.collect.worker_process import stop_worker

            stop_worker(worker)
        import signal

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said: the verdict stands


def run_and_exit() -> None:
    """Run the program; the process ends without the interpreter's clean-up, which takes 4 ms."""
    code: object = 0
    try:
        main()
    except SystemExit as ending:
        code = ending.code
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # closed, or nobody reads it
    os._exit(code if isinstance(code, int) else int(code is not None))  # as Python does
