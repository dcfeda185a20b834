"""The commands put together, and the one place where a fault becomes a line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from preflight import __version__
from preflight.cli import (
    bundle,
    check,
    diagnose,
    diff,
    explain,
    facts,
    fleet,
    models,
    rules,
    schema,
)
from preflight.cli.streams import complain, silence_stdout, talk, wait_for_streams, write
from preflight.model.problems import InputError
from preflight.model.report import ExitCode

if TYPE_CHECKING:
    from preflight.facts.collect.measurement import Worker

app = typer.Typer(
    name="preflight",
    help="Tell whether this machine can carry a stack, and what to change if it can't.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        write(f"preflight {__version__}\n")
        raise typer.Exit


@app.callback(epilog="Example: preflight check")
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of a fault of the program itself.")
    ] = False,
) -> None:
    pass


app.command("check", epilog="Example: preflight check -f text -f json:report.json")(check.check)
app.command("facts", epilog="Example: preflight facts -o facts.json")(facts.facts)
app.command("explain", epilog="Example: preflight explain host-memory")(explain.explain)
app.command("models", epilog="Example: preflight models")(models.models)
app.command("diagnose", epilog="Example: docker compose logs -t | preflight diagnose -")(
    diagnose.diagnose
)
app.command("bundle", epilog="Example: preflight bundle -o ticket.zip")(bundle.bundle)
app.command("diff", epilog="Example: preflight diff good.zip ticket.zip")(diff.diff)
app.command("fleet", epilog="Example: preflight fleet -i hosts.ini")(fleet.fleet)
app.add_typer(rules.app, name="rules")
app.command("schema", epilog="Example: preflight schema rules > rules.schema.json")(schema.schema)


_ended: list[int] = []  # the exit code that a signal asks for


def run(worker: Worker | None) -> None:
    """Run the command line in sys.argv; `worker` has been started if it will measure."""
    if sys.stderr is None:  # closed: what is printed to None goes to standard output
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open to the end
    wait_for_streams()
    signal.signal(signal.SIGINT, _interrupted)
    signal.signal(signal.SIGTERM, _terminated)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _terminated)  # under nohup it goes on
    try:
        app(obj=worker)
    except BaseException as ending:  # noqa: BLE001 - all is raised again
        if _ended:
            sys.exit(_ended[0])  # code on the way may have made something else of it
        _account_for(ending)


def _account_for(ending: BaseException) -> None:
    """Say why the program ends, where that is to be said, and end it with the exit code for it."""
    if isinstance(ending, InputError):
        complain(*map(str, ending.problems))
        sys.exit(ExitCode.USAGE)
    cause = ending.__context__
    if isinstance(ending, SystemExit) and ending.code == 1 and isinstance(cause, BrokenPipeError):
        _nobody_reads(cause)  # Typer's 1 would say that a rule failed
        return
    usage = getattr(cause, "exit_code", None)
    if isinstance(ending, OSError) and usage is not None:
        sys.exit(usage)  # there was no telling what is wrong with it
    if isinstance(ending, Exception):  # whatever else is a fault of ours
        _own_fault(ending)
    raise ending


def _nobody_reads(fault: BrokenPipeError) -> None:
    """Whoever reads help may go away; any other pipe is one of ours, and handled where it is."""
    if not {"--help", "-h"} & set(sys.argv):
        _own_fault(fault)
    silence_stdout()


def _interrupted(_signal: int, _frame: object) -> NoReturn:
    _last_word("interrupted")
    _end(ExitCode.INTERRUPTED)


def _terminated(number: int, _frame: object) -> NoReturn:
    _last_word("terminated")
    _end(128 + number)  # as shells tell it


def _end(code: int) -> NoReturn:
    _ended.append(code)
    sys.exit(code)


def _last_word(word: str) -> None:
    """Write past the streams: a signal may have come while one of them was being written to."""
    with suppress(OSError):
        os.write(2, f"preflight: {word}\n".encode())


def _own_fault(fault: Exception) -> NoReturn:
    if "--debug" in sys.argv or os.environ.get("PREFLIGHT_DEBUG"):
        import traceback

        talk(*_without_secrets("".join(traceback.format_exception(fault))).splitlines())
    else:
        said = " ".join(_without_secrets(str(fault)).split())[:200]
        complain(
            f"a fault of preflight itself: {type(fault).__name__}: {said}; "
            "see it whole with --debug"
        )
    sys.exit(ExitCode.FAULT)


def _without_secrets(text: str) -> str:
    """Hide the values of variables that are named like secrets, the longest first."""
    from preflight.model.secrets import secret_kind

    values = {value: name for name, value in os.environ.items() if value and secret_kind(name)}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, f"({values[value]}, hidden)")
    return text
