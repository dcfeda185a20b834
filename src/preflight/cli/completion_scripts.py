"""The scripts with which shells ask for completion: shown, or installed for the current shell."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from preflight.cli import streams
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
SCRIPT_BY_SHELL = {
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


def show_completion_script() -> int:
    """Write the script for the current shell; raises InputError for another shell."""
    streams.write_output(SCRIPT_BY_SHELL[_detect_shell()])
    return ExitCode.OK


def install_completion_script() -> int:
    """Install the script for the current shell; raises InputError for another shell."""
    shell = _detect_shell()
    script = SCRIPT_BY_SHELL[shell]
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
    shell = next((name for name in names if name in SCRIPT_BY_SHELL), None)
    if shell is None:
        raise InputError(
            f"no completion for {names[-1] or 'this shell'}: expected {', '.join(SCRIPT_BY_SHELL)}"
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
