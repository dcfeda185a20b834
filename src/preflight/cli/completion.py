"""Completion in bash, zsh, fish and PowerShell: answers what a shell asks.

The names of the environment variables are those of the scripts that earlier versions installed.
File names are left to the shell.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from preflight.cli import streams
from preflight.cli.parser import Argument, CommandParser
from preflight.model.problems import InputError
from preflight.model.report import ExitCode
from preflight.render import FORMATS

SUPPORTED_SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
# the tags of a stranger's rule file may hold anything, and zsh evaluates what is offered
_SHELL_SAFE_WORD_PATTERN = re.compile(r"[\w%+,./:=@-]+", re.ASCII)
_ZSH_ESCAPES = str.maketrans({'"': '""', "'": r"'\''", "$": r"\$", "`": r"\`", ":": r"\\:"})


class _CompletionCandidate(NamedTuple):
    """What may stand where the cursor is, and what that means."""

    value: str
    help: str = ""


def answer_completion_request(
    instruction: str, build_parser: Callable[[str], CommandParser]
) -> int:
    """Write what may stand where the cursor is, for `complete_SHELL`; return the exit code.

    For `source_SHELL` write the script. Raises InputError for anything else.
    """
    action, _, shell = instruction.partition("_")
    if action not in ("complete", "source") or shell not in SUPPORTED_SHELLS:
        raise InputError(
            f"_PREFLIGHT_COMPLETE={instruction}: expected complete_SHELL or source_SHELL"
        )
    if action == "source":
        from preflight.cli.completion_scripts import read_completion_script

        streams.write_stdout(read_completion_script(shell))
        return ExitCode.OK
    words, incomplete = _read_words_before_cursor(shell)
    offers = [*_list_completions(words, incomplete, build_parser)]
    if shell == "fish" and os.environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        return 0 if offers else 1
    if shell == "zsh":
        quoted = [
            [f'"{text.translate(_ZSH_ESCAPES)}"' for text in offer if text] for offer in offers
        ]
        arguments = "\n".join(map(":".join, quoted))
        lines = [f"_arguments '*: :(({arguments}))'" if offers else "_files"]
    elif shell == "bash":
        lines = [offer.value for offer in offers]
    elif shell == "fish":
        lines = ["\t".join(filter(None, offer)) for offer in offers]
    else:
        lines = [f"{offer.value}:::{offer.help or ' '}" for offer in offers]
    streams.write_stdout("".join(f"{line}\n" for line in lines))
    return ExitCode.OK


def _read_words_before_cursor(shell: str) -> tuple[list[str], str]:
    """Return the words after the program's name, and the one that the cursor is in."""
    if shell == "bash":
        words = _split_shell_words(os.environ.get("COMP_WORDS", ""))
        end = int(os.environ.get("COMP_CWORD") or 1)
        incomplete = words[end] if end < len(words) else ""
        return words[1:end], incomplete
    text = os.environ.get("_TYPER_COMPLETE_ARGS", "")
    words = _split_shell_words(text)[1:]
    incomplete = os.environ.get("_TYPER_COMPLETE_WORD_TO_COMPLETE", "")
    if shell in ("zsh", "fish"):
        incomplete = "" if text.endswith(" ") or not words else words[-1]
    return (words[:-1] if incomplete else words), incomplete


def _split_shell_words(text: str) -> list[str]:
    """Split as a shell does; the last word may have a quote that isn't closed yet."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:
        words.append(lexer.token)
    return words


def _list_completion_values(argument: Argument) -> Iterable[str]:
    """Return the values that are known for an option or argument."""
    from preflight.cli.app import COMMANDS

    match argument.metavar:
        case "ID" | "ID|TAG":
            return _list_rule_ids_and_tags(with_tags=argument.metavar == "ID|TAG")
        case "FORMAT[:FILE]":
            return FORMATS
        case "[COMMAND]...":
            return [name for name in COMMANDS if name and " " not in name]
    return argument.choices


def _list_rule_ids_and_tags(*, with_tags: bool) -> Iterable[str]:
    from preflight.cli.options import load_rules

    try:
        rules = load_rules(None).rules
    except InputError:
        return ()
    return dict.fromkeys(
        name for rule in rules for name in (rule.id, *(rule.tags if with_tags else ()))
    )


def _list_completions(
    words: list[str], incomplete: str, build_parser: Callable[[str], CommandParser]
) -> Iterator[_CompletionCandidate]:
    """Yield what may stand where the cursor is."""
    name, parser = "", build_parser("")
    while parser.commands and (others := _list_positional_words(parser, words)):
        if others[0] not in parser.commands:
            return
        name = f"{name} {others[0]}".lstrip()
        words, parser = others[1:], build_parser(name)
    if words[-1:] == ["="]:  # bash splits --name=value into three words
        words.pop()
    elif incomplete == "=":
        incomplete = ""
    option_name, separator, _ = incomplete.partition("=")
    named = parser.option_by_name.get(words[-1]) if words else None
    offers: Iterable[_CompletionCandidate]
    if named is not None and named.metavar:
        offers = map(_CompletionCandidate, _list_completion_values(named))
    elif separator and (named := parser.option_by_name.get(option_name)) is not None:
        offers = (
            _CompletionCandidate(f"{option_name}={value}")
            for value in _list_completion_values(named)
        )
    elif incomplete.startswith("-") and "--" not in words:
        offers = (
            _CompletionCandidate(name, option.help.partition(". ")[0].rstrip("."))
            for option in parser.options
            for name in option.names
        )
    elif parser.commands:
        offers = (_CompletionCandidate(name, summary) for name, summary in parser.commands.items())
    else:
        arguments = _list_positional_words(parser, words)
        current = parser.positionals[len(arguments) :][:1]
        current = current or [last for last in parser.positionals if last.is_repeatable]
        offers = (
            _CompletionCandidate(value)
            for argument in current
            for value in _list_completion_values(argument)
        )
    for offer in offers:
        if offer.value.startswith(incomplete) and _SHELL_SAFE_WORD_PATTERN.fullmatch(offer.value):
            yield offer


def _list_positional_words(parser: CommandParser, words: list[str]) -> list[str]:
    """Return the words that aren't options, or none if one of those is wrong."""
    try:
        return parser.separate_options_from_words(words)[1]
    except InputError:
        return []
