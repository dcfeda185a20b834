"""The table of commands, and the one place where an error becomes a message and an exit code."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from math import isfinite
from typing import TYPE_CHECKING, NoReturn

from preflight import __version__
from preflight.cli import streams
from preflight.cli.parser import Argument, CommandParser, CommandSyntax, ParsedArguments
from preflight.model.problems import InputError, did_you_mean
from preflight.model.quantities import parse_duration
from preflight.model.report import ExitCode
from preflight.processes import set_filesystem_timeout

if TYPE_CHECKING:
    from preflight.facts.collect.worker_process import Worker


COMMANDS = {
    "check": ("check", "Check this machine, or a snapshot of one, against the rules."),
    "init": ("init", "Write a rule file, preflight.yaml, from the compose file."),
    "facts": ("listings", "Print the measured facts and where each value comes from."),
    "fix": ("fix", "Show a compose override with which failing checks pass."),
    "explain": ("listings", "Explain a rule: what it requires, why, and its current value."),
    "models": ("listings", "Show which models fit this machine, and which one is configured."),
    "diagnose": ("diagnose", "Find known errors in logs, with their cause and fix."),
    "bundle": ("bundle", "Write a file without secrets to attach to a support ticket."),
    "diff": ("diff", "Show which verdicts and facts changed between A and B."),
    "fleet": ("fleet", "Run the same check on every host of an Ansible inventory."),
    "rules": ("", "List, check, test, and document rules."),
    "rules list": ("rules", "List the rules of a set."),
    "rules packs": ("rules", "List the bundled rules for well-known stacks."),
    "rules document": ("rules", "Write the requirements document from the rules, as Markdown."),
    "rules validate": ("rules", "Find all problems in rule files and where they are."),
    "rules test": ("rules", "Test rules against snapshots of machines."),
    "rules pull": ("pull", "Fetch a rule file from a Git repository, and write its lock file."),
    "schema": ("listings", "Print the JSON Schema of one of preflight's files."),
    "help": ("app", "Show the help of a command."),
}
"""By name, in the order of the help: the module and a line of help.

The module has, for example, `RULES_LIST_COMMAND` and `run_rules_list`. A command without one is
followed by another command.
"""

PREFLIGHT_COMMAND = CommandSyntax(
    """\
Check whether this machine can run a stack, and show what to change if it can't.

Example: preflight check""",
    (
        Argument(("--version",), help="Show the version."),
        Argument(("--debug",), help="Show the traceback of an internal error."),
        Argument(("--install-completion",), help="Install completion for the current shell."),
        Argument(
            ("--show-completion",),
            help="Print the completion script for the current shell, to copy or customize it.",
        ),
    ),
)
RULES_COMMAND = CommandSyntax("Example: preflight rules list")
HELP_COMMAND = CommandSyntax(
    "Example: preflight help check",
    (
        Argument(
            ("words",),
            "[COMMAND]...",
            is_repeatable=True,
            help="The command to describe, such as 'rules test'.",
        ),
    ),
)
_HELP_OPTION = Argument(("--help", "-h"), help="Show this message and exit.")


def load_command_syntax(name: str) -> CommandSyntax:
    """Return what a command such as `rules list` takes; the program itself for ``."""
    module_name, summary = COMMANDS[name]
    module = import_module(f"preflight.cli.{module_name or 'app'}")
    command: CommandSyntax = getattr(module, f"{name.upper().replace(' ', '_')}_COMMAND")
    return command._replace(description=f"{summary}\n\n{command.description}")


def build_parser(name: str) -> CommandParser:
    """Return the parser of a command, such as `rules list`; that of the program itself for ``."""
    command = load_command_syntax(name) if name else PREFLIGHT_COMMAND
    words = name.split()
    commands = {
        other.split()[-1]: summary
        for other, (_, summary) in COMMANDS.items()
        if other.split()[:-1] == words
    }
    arguments = (*command.arguments, _HELP_OPTION)
    prog = f"preflight {name}".rstrip()
    return CommandParser(prog, command.description, arguments, commands, _PARSER_BY_DURATION_OPTION)


def _parse_and_apply_timeout(text: str) -> float:
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
        raise InputError(f"--since {since}: expected a duration longer than zero, such as 2h")
    return seconds


_PARSER_BY_DURATION_OPTION = {"timeout": _parse_and_apply_timeout, "since": _parse_since}


def run_command_line(words: Sequence[str], worker: "Worker | None" = None) -> int:
    """Run a command line, return its exit code; raises InputError, and SystemExit after help."""
    name, parser = "", build_parser("")
    arguments = parser.parse(words)
    if arguments.version:
        streams.write_stdout(f"preflight {__version__}\n")
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
    module = import_module(f"preflight.cli.{COMMANDS[name][0]}")
    code: int = getattr(module, f"run_{name.replace(' ', '_')}")(arguments)
    return code


def run_help(arguments: ParsedArguments) -> int:
    """Run `preflight help`: show the help of a command."""
    return run_command_line([*arguments.words, "--help"])


_signal_exit_codes: list[int] = []  # that a signal asks for


def run_program(worker: "Worker | None") -> NoReturn:
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
            code = run_command_line(sys.argv[1:], worker)
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
            *_hide_secret_variables("".join(traceback.format_exception(error))).splitlines()
        )
    else:
        message = " ".join(_hide_secret_variables(str(error)).split())[:200]
        streams.write_message(
            f"internal error: {type(error).__name__}: {message}; to show the traceback, use --debug"
        )
    return ExitCode.FAULT


def _handle_signal(number: int, _frame: object) -> NoReturn:
    is_interrupt = number == signal.SIGINT
    with suppress(OSError):  # past the streams, which may be in the middle of writing
        os.write(2, b"preflight: interrupted\n" if is_interrupt else b"preflight: terminated\n")
    _signal_exit_codes.append(128 + number)  # as shells do
    sys.exit(_signal_exit_codes[-1])


def _hide_secret_variables(text: str) -> str:
    """Hide the values of environment variables that are named like secrets, the longest first."""
    from preflight.model.secret_names import find_secret_kind_of_name

    values = {
        value: name
        for name, value in os.environ.items()
        if value and find_secret_kind_of_name(name)
    }
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, f"({values[value]}, hidden)")
    return text
