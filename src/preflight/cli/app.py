"""The table of commands, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from preflight import __version__
from preflight.cli.streams import (
    complain,
    make_streams_blocking,
    silence_stdout,
    write,
    write_stderr,
)
from preflight.model.problems import InputError
from preflight.model.report import ExitCode

if TYPE_CHECKING:
    from preflight.facts.collect.measurement import Worker


def _version(wanted: bool) -> None:
    if wanted:
        write(f"preflight {__version__}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an internal error.")
    ] = False,
) -> None:
    pass


# A command is the function of its name in the module of its name, a group the `app` in it.
_EXAMPLES = {
    "check": "preflight check -f text -f json:report.json",
    "facts": "preflight facts -o facts.json",
    "explain": "preflight explain host-memory",
    "models": "preflight models",
    "diagnose": "docker compose logs -t | preflight diagnose -",
    "bundle": "preflight bundle -o ticket.zip",
    "diff": "preflight diff good.zip ticket.zip",
    "fleet": "preflight fleet -i hosts.ini",
    "rules": "",
    "schema": "preflight schema rules > rules.schema.json",
}


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """Return the app with the command that the arguments name, or with all commands.

    Importing the other commands takes as long as reading the rules.
    """
    app = typer.Typer(
        name="preflight",
        help="Check whether this machine can run a stack, and show what to change if it can't.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(epilog="Example: preflight check")(_root)
    command = next((word for word in arguments if word != "--debug"), "")
    names = [command] if command in _EXAMPLES else [] if command == "--version" else _EXAMPLES
    for name in names:
        module = import_module(f"preflight.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name, epilog=f"Example: {_EXAMPLES[name]}")(getattr(module, name))
    return app


_exit_codes: list[int] = []  # that a signal asks for


def run(worker: Worker | None) -> None:
    """Run the command line in sys.argv; `worker` was started early where it will measure."""
    if sys.stderr is None:  # closed: print() to None would go to standard output
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open to the end
    make_streams_blocking()
    signal.signal(signal.SIGINT, _handle_signal)
    signal.signal(signal.SIGTERM, _handle_signal)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _handle_signal)  # under nohup it continues
    try:
        build_app(sys.argv[1:])(obj=worker)
    except BaseException as error:  # noqa: BLE001 - all is raised again
        if _exit_codes:
            sys.exit(_exit_codes[0])  # code in between may have raised something else
        _handle_error(error)


def _handle_error(error: BaseException) -> None:
    """Say what went wrong, where there is something to say, and exit with the code for it."""
    if isinstance(error, InputError):
        complain(*map(str, error.problems))
        sys.exit(ExitCode.USAGE)
    cause = error.__context__
    if isinstance(error, SystemExit) and error.code == 1 and isinstance(cause, BrokenPipeError):
        # Typer's 1 would mean that a rule failed. Only help is written by Typer itself
        if not {"--help", "-h"} & set(sys.argv):
            _report_internal_error(cause)
        silence_stdout()
        return
    usage_code = getattr(cause, "exit_code", None)
    if isinstance(error, OSError) and usage_code is not None:
        sys.exit(usage_code)  # Typer couldn't write its message
    if isinstance(error, Exception):
        _report_internal_error(error)
    raise error


def _handle_signal(number: int, _frame: object) -> NoReturn:
    is_interrupt = number == signal.SIGINT
    with suppress(OSError):  # past the streams, which may be in the middle of writing
        os.write(2, b"preflight: interrupted\n" if is_interrupt else b"preflight: terminated\n")
    _exit_codes.append(ExitCode.INTERRUPTED if is_interrupt else 128 + number)  # as shells do
    sys.exit(_exit_codes[-1])


def _report_internal_error(error: Exception) -> NoReturn:
    if "--debug" in sys.argv or os.environ.get("PREFLIGHT_DEBUG"):
        import traceback

        write_stderr(*_hide_secrets("".join(traceback.format_exception(error))).splitlines())
    else:
        message = " ".join(_hide_secrets(str(error)).split())[:200]
        complain(f"internal error: {type(error).__name__}: {message}; --debug shows the traceback")
    sys.exit(ExitCode.FAULT)


def _hide_secrets(text: str) -> str:
    """Hide the values of environment variables that are named like secrets, the longest first."""
    from preflight.model.secrets import secret_kind

    values = {value: name for name, value in os.environ.items() if value and secret_kind(name)}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, f"({values[value]}, hidden)")
    return text
