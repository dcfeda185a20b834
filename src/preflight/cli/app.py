"""The table of commands, and the one place where an error becomes a message and an exit code."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from preflight import __version__
from preflight.cli import streams
from preflight.cli.parser import CommandParser, ParsedArguments, parse_declarations
from preflight.model.problems import InputError, did_you_mean
from preflight.model.quantities import parse_duration
from preflight.model.report import ExitCode
from preflight.processes import set_filesystem_timeout
from preflight.render import FORMATS

if TYPE_CHECKING:
    from preflight.facts.collect.process import Worker


class Command(NamedTuple):
    """A section of commands.txt; without a `module`, it is followed by another command."""

    module: str
    description: str
    arguments: str

    @property
    def summary(self) -> str:
        """The first line of its description."""
        return self.description.partition("\n")[0]


def _read_commands() -> dict[str, Command]:
    path = os.path.join(os.path.dirname(__file__), "commands.txt")
    with open(path, encoding="utf-8") as file:
        _, *sections = file.read().rstrip().split("\n\n== ")
    commands = {}
    for section in sections:
        heading, _, text = section.partition("\n")
        name, _, module = heading.partition(": ")
        description, _, arguments = text.partition("\n--\n")
        commands[name.removeprefix("preflight")] = Command(module, description, arguments)
    return commands


COMMANDS = _read_commands()
"""By name, such as `rules list`; the program itself has none."""
_SHARED_OPTIONS = COMMANDS.pop("shared options").arguments


def build_parser(name: str) -> CommandParser:
    """Return the parser of a command, such as `rules list`; that of the program itself for ``."""
    command = COMMANDS[name]
    shared = {option.options[0]: option for option in parse_declarations(_SHARED_OPTIONS)}
    text = command.arguments.replace("{formats}", ", ".join(FORMATS))
    arguments = [
        argument if argument.help else shared[argument.options[0]]
        for argument in parse_declarations(f"{text}\n--help")
    ]
    commands = {}
    for other, following in COMMANDS.items() if not command.module else ():
        parent, _, last_word = other.rpartition(" ")
        if parent == name and last_word:
            commands[last_word] = following.summary
    prog = f"preflight {name}".rstrip()
    return CommandParser(prog, command.description, arguments, commands, _CONVERTERS)


def _parse_timeout(text: str) -> float:
    """Read a --timeout, which files are waited for too; raises InputError, or ValueError."""
    seconds = float(text)
    if not isfinite(seconds) or not 0 < seconds <= 3600:
        raise InputError(f"--timeout {seconds:g}: expected more than 0 and at most 3600 seconds")
    set_filesystem_timeout(seconds)
    return seconds


def _parse_since(since: str) -> float:
    """Return the seconds of --since; raises InputError."""
    try:
        seconds = parse_duration(since)
    except ValueError as error:
        raise InputError(f"--since {error}") from None
    if seconds <= 0:
        raise InputError(f"--since {since}: expected a duration above zero, such as 2h")
    return seconds


_CONVERTERS = {"timeout": _parse_timeout, "since": _parse_since}


def run_command(words: Sequence[str], worker: "Worker | None" = None) -> int:
    """Run a command line, return its exit code; raises InputError, and SystemExit after help."""
    name, parser = "", build_parser("")
    arguments = parser.parse(words)
    if arguments.version:
        streams.write_output(f"preflight {__version__}\n")
        return ExitCode.OK
    if arguments.install_completion or arguments.show_completion:
        from preflight.cli import completion_scripts as scripts

        if arguments.install_completion:
            return scripts.install_completion_script()
        return scripts.show_completion_script()
    while parser.commands:
        if not arguments.words:
            if words:
                raise parser.make_usage_error("missing command")
            streams.write_stderr(*parser.format_help().splitlines())
            return ExitCode.USAGE
        command, *words = arguments.words
        if command not in parser.commands:
            hint = did_you_mean(command, parser.commands)
            raise parser.make_usage_error(f"no such command {command!r}{hint}")
        name = f"{name} {command}".lstrip()
        parser = build_parser(name)
        arguments = parser.parse(words)
    arguments.worker = worker  # was started early if the command measures
    module = import_module(f"preflight.cli.{COMMANDS[name].module}")
    code: int = getattr(module, f"run_{name.replace(' ', '_')}")(arguments)
    return code


def run_help(arguments: ParsedArguments) -> int:
    """Run `preflight help`: show the help of a command."""
    return run_command([*arguments.words, "--help"])


_signal_exit_codes: list[int] = []  # that a signal asks for


def run(worker: "Worker | None") -> NoReturn:
    """Run the command line in sys.argv; `worker` was started early if it will measure."""
    streams.prepare_streams()
    signal.signal(signal.SIGINT, _handle_signal)
    signal.signal(signal.SIGTERM, _handle_signal)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _handle_signal)  # under nohup it continues
    try:
        if instruction := os.environ.get("_PREFLIGHT_COMPLETE"):
            from preflight.cli.completion import answer_completion_request

            code = answer_completion_request(instruction, build_parser)
        else:
            code = run_command(sys.argv[1:], worker)
    except BaseException as error:  # noqa: BLE001 - all become exit codes
        # after a signal, code in between may have raised something else
        code = _signal_exit_codes[0] if _signal_exit_codes else _report_error(error)
    sys.exit(code)


def _report_error(error: BaseException) -> int:
    """Say what went wrong, if there is anything to say; return the exit code for it."""
    if isinstance(error, InputError):
        streams.write_message(*map(str, error.problems))
        return ExitCode.USAGE
    if isinstance(error, SystemExit) and error.code in (None, 0):  # after help
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


def _handle_signal(number: int, _frame: object) -> NoReturn:
    is_interrupt = number == signal.SIGINT
    with suppress(OSError):  # past the streams, which may be in the middle of writing
        os.write(2, b"preflight: interrupted\n" if is_interrupt else b"preflight: terminated\n")
    _signal_exit_codes.append(128 + number)  # as shells do
    sys.exit(_signal_exit_codes[-1])


def _hide_secrets(text: str) -> str:
    """Hide the values of environment variables that are named like secrets, the longest first."""
    from preflight.model.secrets import find_secret_kind

    values = {value: name for name, value in os.environ.items() if value and find_secret_kind(name)}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, f"({values[value]}, hidden)")
    return text
