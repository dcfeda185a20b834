"""The table of commands, and the one place where an error becomes a message and an exit code."""

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from preflight import __version__
from preflight.cli import streams
from preflight.cli.parser import CommandParser
from preflight.model.problems import InputError, did_you_mean
from preflight.model.report import ExitCode

if TYPE_CHECKING:
    from preflight.facts.collect.process import Worker


# By command: its module, and a line of help; without a module it is followed by another command.
# The module of `rules list` has `add_rules_list_arguments` and `run_rules_list`. It is imported
# when the command runs or is completed: all of them together take as long as a check.
COMMANDS = {
    "": ("", "Check whether this machine can run a stack, and show what to change if it can't."),
    "check": ("check", "Judge this machine, or a snapshot of one, by the rules."),
    "init": ("init", "Write a rule file, preflight.yaml, from the compose file."),
    "facts": ("listings", "Print what was measured, and where each value comes from."),
    "fix": ("fix", "Show a compose override with which failing checks pass."),
    "explain": ("listings", "Explain one rule: what it requires, why, and its value here."),
    "models": ("listings", "Show which models fit this machine, and which one is configured."),
    "diagnose": ("diagnose", "Find known errors in logs, with their cause and fix."),
    "bundle": ("bundle", "Write one file to attach to a support ticket, without secrets."),
    "diff": ("diff", "Show which verdicts and facts changed from A to B."),
    "fleet": ("fleet", "Run the same check on every host of an Ansible inventory."),
    "rules": ("", "List, check, test and document rules."),
    "rules list": ("rules", "List the rules of a set."),
    "rules packs": ("rules", "List the bundled rules for well-known stacks."),
    "rules document": ("rules", "Write the requirements document from the rules, as Markdown."),
    "rules validate": ("rules", "Find all problems in rule files, each with its line."),
    "rules test": ("rules", "Test rules against snapshots of machines."),
    "rules pull": ("pull", "Fetch a rule file from a git repository, and write a lock next to it."),
    "schema": ("listings", "Print the JSON Schema of one of preflight's files."),
    "help": ("app", "Show the help of a command."),
}


def build_parser(name: str) -> CommandParser:
    """Return the parser of a command, such as `rules list`; that of the program itself for ``."""
    module_name, summary = COMMANDS[name]
    prog = f"preflight {name}".rstrip()
    if module_name:
        module = import_module(f"preflight.cli.{module_name}")
        function_suffix = name.replace(" ", "_")
        run_function = getattr(module, f"run_{function_suffix}")
        parser = CommandParser(prog, run_function.__doc__ or summary)
        getattr(module, f"add_{function_suffix}_arguments")(parser)
        parser.set_defaults(run=run_function)
    else:
        commands: dict[str, str] = {}
        for other, (_, meaning) in COMMANDS.items():
            parent, _, last_word = other.rpartition(" ")
            if parent == name and last_word:
                commands[last_word] = meaning
        example = f"{prog} {next(iter(commands))}"
        parser = CommandParser(prog, f"{summary}\n\nExample: {example}", commands)
    if not name:
        parser.add_option("--version", help="Show the version.")
        parser.add_option("--debug", help="Show the traceback of an internal error.")
        parser.add_option("--install-completion", help="Install completion for the current shell.")
        parser.add_option(
            "--show-completion",
            help="Show completion for the current shell, to copy it or customize the installation.",
        )
    parser.add_option("--help -h", help="Show this message and exit.")
    return parser


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
    code: int = arguments.run(arguments)
    return code


def add_help_arguments(parser: CommandParser) -> None:
    """Add the arguments of `preflight help`."""
    parser.add_positional(
        "words",
        help="For example: rules test.",
        nargs="*",
        default=[],
        metavar="[COMMAND]...",
        complete=lambda: [name for name in COMMANDS if name and " " not in name],
    )


def run_help(arguments: Namespace) -> int:
    """Show the help of a command.

    Example: preflight help check
    """
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
