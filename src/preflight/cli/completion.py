"""Completion in bash, zsh, fish and PowerShell: what a shell asks, and the scripts that ask it.

The names of the environment variables are those of the scripts that earlier versions installed.
File names are left to the shell.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from preflight.cli import streams
from preflight.cli.parser import CommandParser
from preflight.model.problems import InputError
from preflight.model.report import ExitCode

_BASH_SCRIPT = """\
_preflight_completion() {
    local IFS=$'\\n'
    COMPREPLY=($(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \\
        _PREFLIGHT_COMPLETE=complete_bash "$1"))
}
complete -o default -F _preflight_completion preflight
"""
_ZSH_SCRIPT = """\
#compdef preflight

_preflight_completion() {
  eval "$(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" \\
    _PREFLIGHT_COMPLETE=complete_zsh preflight)"
}
compdef _preflight_completion preflight
"""
_FISH_SCRIPT = """\
function __preflight_complete
    env _PREFLIGHT_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=$argv[1] \\
        _TYPER_COMPLETE_ARGS=(commandline -cp | string collect) preflight
end
complete --command preflight --no-files --condition '__preflight_complete is-args' \\
    --arguments '(__preflight_complete get-args)'
"""
_POWERSHELL_SCRIPT = """\
Register-ArgumentCompleter -Native -CommandName preflight -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $Env:_PREFLIGHT_COMPLETE = "complete_powershell"
    $Env:_TYPER_COMPLETE_ARGS = $commandAst.ToString()
    $Env:_TYPER_COMPLETE_WORD_TO_COMPLETE = $wordToComplete
    preflight | ForEach-Object {
        $value, $help = $_ -Split ":::"
        [System.Management.Automation.CompletionResult]::new(
            $value, $value, "ParameterValue", $help)
    }
    $Env:_PREFLIGHT_COMPLETE = ""
    $Env:_TYPER_COMPLETE_ARGS = ""
    $Env:_TYPER_COMPLETE_WORD_TO_COMPLETE = ""
}
"""
_SCRIPT_BY_SHELL = {
    "bash": _BASH_SCRIPT,
    "zsh": _ZSH_SCRIPT,
    "fish": _FISH_SCRIPT,
    "powershell": _POWERSHELL_SCRIPT,
    "pwsh": _POWERSHELL_SCRIPT,
}
# where a shell finds it, under the user's home, and what a start-up file must have for that
_COMPLETION_FILE_BY_SHELL = {
    "bash": ".bash_completions/preflight.sh",
    "zsh": ".zfunc/_preflight",
    "fish": ".config/fish/completions/preflight.fish",
}
_START_UP_FILE_AND_LINE_BY_SHELL = {
    "bash": (".bashrc", "source '{file}'"),
    "zsh": (".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit"),
}
# the tags of a stranger's rule file may hold anything, and zsh evaluates what is offered
_PLAIN_WORD_PATTERN = re.compile(r"[\w%+,./:=@-]+", re.ASCII)
_ZSH_ESCAPES = str.maketrans({'"': '""', "'": r"'\''", "$": r"\$", "`": r"\`", ":": r"\\:"})


class _Completion(NamedTuple):
    """What may stand where the cursor is, and what that means."""

    value: str
    help: str = ""


# --- answers ------------------------------------------------------------------------------------


def answer_completion_request(
    instruction: str, build_parser: Callable[[str], CommandParser]
) -> int:
    """Write what may stand where the cursor is, for `complete_SHELL`; return the exit code.

    For `source_SHELL` write the script. Raises InputError for anything else.
    """
    action, _, shell = instruction.partition("_")
    if action not in ("complete", "source") or shell not in _SCRIPT_BY_SHELL:
        raise InputError(
            f"_PREFLIGHT_COMPLETE={instruction}: expected complete_SHELL or source_SHELL"
        )
    if action == "source":
        streams.write_output(_SCRIPT_BY_SHELL[shell])
        return ExitCode.OK
    words, incomplete = _read_words(shell)
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
    streams.write_output("".join(f"{line}\n" for line in lines))
    return ExitCode.OK


def _read_words(shell: str) -> tuple[list[str], str]:
    """Return the words after the program's name, and the one that the cursor is in."""
    if shell == "bash":
        words = _split_words(os.environ.get("COMP_WORDS", ""))
        end = int(os.environ.get("COMP_CWORD") or 1)
        incomplete = words[end] if end < len(words) else ""
        return words[1:end], incomplete
    text = os.environ.get("_TYPER_COMPLETE_ARGS", "")
    words = _split_words(text)[1:]
    incomplete = os.environ.get("_TYPER_COMPLETE_WORD_TO_COMPLETE", "")
    if shell in ("zsh", "fish"):
        incomplete = "" if text.endswith(" ") or not words else words[-1]
    return (words[:-1] if incomplete else words), incomplete


def _split_words(text: str) -> list[str]:
    """Split as a shell does; the last word may have a quote that isn't closed yet."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:
        words.append(lexer.token)
    return words


def _list_completions(
    words: list[str], incomplete: str, build_parser: Callable[[str], CommandParser]
) -> Iterator[_Completion]:
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
    option, separator, _ = incomplete.partition("=")
    named = parser.find_option(words[-1]) if words else None
    offers: Iterable[_Completion]
    if named is not None and named.nargs != 0:
        offers = map(_Completion, parser.list_values(named))
    elif separator and (named := parser.find_option(option)) is not None:
        offers = (_Completion(f"{option}={value}") for value in parser.list_values(named))
    elif incomplete.startswith("-") and "--" not in words:
        offers = (
            _Completion(name, (action.help or "").partition(". ")[0].rstrip("."))
            for action in parser.options
            for name in action.option_strings
        )
    elif parser.commands:
        offers = (_Completion(name, summary) for name, summary in parser.commands.items())
    else:
        arguments = _list_positional_words(parser, words)
        current = parser.positionals[len(arguments) :][:1]
        current = current or [action for action in parser.positionals if action.nargs == "*"]
        offers = (_Completion(value) for action in current for value in parser.list_values(action))
    for offer in offers:
        if offer.value.startswith(incomplete) and _PLAIN_WORD_PATTERN.fullmatch(offer.value):
            yield offer


def _list_positional_words(parser: CommandParser, words: list[str]) -> list[str]:
    """Return the words that aren't options, or none if one of those is wrong."""
    try:
        return parser.sort_words(words)[1]
    except InputError:
        return []


# --- scripts ------------------------------------------------------------------------------------


def show_completion_script() -> int:
    """Write the script for the current shell; raises InputError for another shell."""
    streams.write_output(_SCRIPT_BY_SHELL[_detect_shell()])
    return ExitCode.OK


def install_completion_script() -> int:
    """Install the script for the current shell; raises InputError for another shell."""
    shell = _detect_shell()
    script = _SCRIPT_BY_SHELL[shell]
    if shell in _COMPLETION_FILE_BY_SHELL:
        file = Path.home() / _COMPLETION_FILE_BY_SHELL[shell]
        streams.write_file(str(file), script)
        if shell in _START_UP_FILE_AND_LINE_BY_SHELL:
            name, line = _START_UP_FILE_AND_LINE_BY_SHELL[shell]
            _append_missing_lines(Path.home() / name, line.format(file=file))
    else:
        command = [shell, "-NoProfile", "-Command", "$PROFILE"]
        profile = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        file = Path(profile.stdout.strip())
        _append_missing_lines(file, script)
    streams.write_output(
        f"Completion for {shell} installed: {file}\nOpen a new terminal to use it.\n"
    )
    return ExitCode.OK


def _detect_shell() -> str:
    """Return the shell that started this program, or the user's; raises InputError."""
    names = ["powershell"] if sys.platform == "win32" else []
    with suppress(OSError):
        names.append(Path(f"/proc/{os.getppid()}/comm").read_text(encoding="utf-8").strip())
    names.append(Path(os.environ.get("SHELL", "")).name)
    shell = next((name for name in names if name in _SCRIPT_BY_SHELL), None)
    if shell is None:
        raise InputError(
            f"no completion for {names[-1] or 'this shell'}: expected {', '.join(_SCRIPT_BY_SHELL)}"
        )
    return shell


def _append_missing_lines(file: Path, text: str) -> None:
    """Add lines to a start-up file, unless it has them."""
    with suppress(FileNotFoundError):
        existing = file.read_text(encoding="utf-8", errors="surrogateescape")
        if text in existing:
            return
        text = f"{existing.rstrip()}\n{text}" if existing.strip() else text
    streams.write_file(str(file), f"{text.rstrip()}\n".encode("utf-8", "surrogateescape"))
