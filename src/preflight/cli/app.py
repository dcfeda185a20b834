"""The table of commands, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from preflight import __version__
from preflight.cli import streams
from preflight.model.problems import InputError
from preflight.model.report import ExitCode

if TYPE_CHECKING:
    from preflight.facts.collect.process import Worker

# By command: its module, a line of help, an example. Its function has its name, or is `app`.
_COMMANDS = {
    "check": (
        "check",
        "Judge this machine, or a snapshot of one, by the rules.",
        "preflight check -f text -f json:report.json",
    ),
    "init": (
        "init",
        "Write a rule file, preflight.yaml, from the compose file.",
        "preflight init",
    ),
    "facts": (
        "listings",
        "Print what was measured, and where each value comes from.",
        "preflight facts -o facts.json",
    ),
    "fix": (
        "fix",
        "Show a compose override with which failing checks pass.",
        "preflight fix -o compose.fix.yaml",
    ),
    "explain": (
        "listings",
        "Explain one rule: what it requires, why, and its value here.",
        "preflight explain host-memory",
    ),
    "models": (
        "listings",
        "Show which models fit this machine, and which one is configured.",
        "preflight models",
    ),
    "diagnose": (
        "diagnose",
        "Find known errors in logs, with their cause and fix.",
        "docker compose logs -t | preflight diagnose -",
    ),
    "bundle": (
        "bundle",
        "Write one file to attach to a support ticket, without secrets.",
        "preflight bundle -o ticket.zip",
    ),
    "diff": (
        "diff",
        "Show which verdicts and facts changed from A to B.",
        "preflight diff good.zip ticket.zip",
    ),
    "fleet": (
        "fleet",
        "Run the same check on every host of an Ansible inventory.",
        "preflight fleet -i hosts.ini",
    ),
    "rules": ("rules", "List, check, test and document rules.", ""),
    "schema": (
        "listings",
        "Print the JSON Schema of one of preflight's files.",
        "preflight schema rules > rules.schema.json",
    ),
}

_SUGGESTION_PATTERN = re.compile(
    r"\.? Did you mean .*| \(Possible option.*", re.DOTALL
)  # Typer's own


def _show_help(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND]...", help="For example: rules test.")
    ] = None,
) -> None:
    """Show the help of a command."""
    raise typer.Exit(build_app()([*(words or ()), "--help"], "preflight", standalone_mode=False))


def _show_version(wanted: bool) -> None:
    if wanted:
        streams.write_output(f"preflight {__version__}\n")
        raise typer.Exit


def _root_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an internal error.")
    ] = False,
) -> None:
    pass


class _LazyGroup(TyperGroup):
    """Imports a command when it is run or completed; its row in the table is enough for the help.

    All commands together take as long to import as a check.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, arguments = super().resolve_command(ctx, args)
        return name, _load_command(name) if name in _COMMANDS else command, arguments


def _load_command(name: str) -> Any:
    """Import a command; returns it as Typer runs it."""
    module_name, _, example = _COMMANDS[name]
    module = import_module(f"preflight.cli.{module_name}")
    if hasattr(module, "app"):
        return typer.main.get_command(module.app)
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command(name, epilog=f"Example: {example}")(getattr(module, name))
    return typer.main.get_command(app)


def build_app() -> typer.Typer:
    """Return the app with all commands."""
    app = typer.Typer(
        name="preflight",
        cls=_LazyGroup,
        help="Check whether this machine can run a stack, and show what to change if it can't.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(epilog="Example: preflight check")(_root_options)
    for name, (_, summary, _) in _COMMANDS.items():
        app.command(name, help=summary)(lambda: None)
    app.command("help", epilog="Example: preflight help check")(_show_help)
    return app


_exit_codes: list[int] = []  # that a signal asks for


def run(worker: Worker | None) -> NoReturn:
    """Run the command line in sys.argv; `worker` was started early if it will measure."""
    streams.prepare_streams()
    signal.signal(signal.SIGINT, _handle_signal)
    signal.signal(signal.SIGTERM, _handle_signal)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _handle_signal)  # under nohup it continues
    try:
        code = build_app()(obj=worker, standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - all become exit codes
        # after a signal, code in between may have raised something else
        code = _exit_codes[0] if _exit_codes else _report_error(error)
    sys.exit(code)


def _report_error(error: BaseException) -> int:
    """Say what went wrong, if there is anything to say; return the exit code for it."""
    if isinstance(error, InputError):
        streams.write_message(*map(str, error.problems))
        return ExitCode.USAGE
    if hasattr(error, "format_message"):  # Typer's usage errors; their class isn't public
        text = str(error.format_message())
        if text.startswith("Usage:"):  # without arguments it is the help
            streams.write_stderr(*text.splitlines())
        else:
            streams.write_message(_describe_usage_error(error))
        return ExitCode.USAGE
    if isinstance(error, SystemExit) and error.code == 0:  # Typer raises it after a completion
        return ExitCode.OK
    if isinstance(error, SystemExit):  # Typer raises it if nobody reads what it writes
        streams.silence_stdout()
        if {"--help", "-h"} & set(sys.argv):
            return ExitCode.OK
    if "--debug" in sys.argv or os.environ.get("PREFLIGHT_DEBUG"):
        import traceback

        streams.write_stderr(
            *_hide_secrets("".join(traceback.format_exception(error))).splitlines()
        )
    else:
        message = " ".join(_hide_secrets(str(error)).split())[:200]
        streams.write_message(
            f"internal error: {type(error).__name__}: {message}; --debug shows the traceback"
        )
    return ExitCode.FAULT


def _describe_usage_error(error: Any) -> str:
    """Return what is wrong with the command line, with the nearest name that exists."""
    from preflight.model.problems import did_you_mean
    from preflight.render import FORMATS

    message = _SUGGESTION_PATTERN.sub("", error.format_message()).rstrip(".")
    message = message[:1].lower() + message[1:].replace("is not a valid float", "isn't a number")
    if error.ctx is None:
        return message
    command = error.ctx.command
    name = getattr(error, "option_name", None) or next(
        iter(re.findall("'(.*?)'", error.message)), ""
    )
    if hasattr(error, "option_name"):
        known = [option for parameter in command.params for option in parameter.opts]
        if name.removeprefix("--") in FORMATS and "-f" in known:
            known.append(name := f"-f {name.removeprefix('--')}")
    elif hasattr(error, "param"):
        known = list(getattr(error.param.type, "choices", ()))
    else:
        known = list(getattr(command, "commands", ()))
    hint = did_you_mean(name, known) or "."
    return f"{message}{hint} See: {error.ctx.command_path} --help"


def _handle_signal(number: int, _frame: object) -> NoReturn:
    is_interrupt = number == signal.SIGINT
    with suppress(OSError):  # past the streams, which may be in the middle of writing
        os.write(2, b"preflight: interrupted\n" if is_interrupt else b"preflight: terminated\n")
    _exit_codes.append(ExitCode.INTERRUPTED if is_interrupt else 128 + number)  # as shells do
    sys.exit(_exit_codes[-1])


def _hide_secrets(text: str) -> str:
    """Hide the values of environment variables that are named like secrets, the longest first."""
    from preflight.model.secrets import secret_kind

    values = {value: name for name, value in os.environ.items() if value and secret_kind(name)}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, f"({values[value]}, hidden)")
    return text
