"""The scripts with which shells ask for completion: shown, or installed for the current shell."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from preflight.cli import streams
from preflight.cli.completion import SUPPORTED_SHELLS
from preflight.model.problems import InputError
from preflight.model.report import ExitCode

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


def read_completion_script(shell: str) -> str:
    """Return the script of a supported shell."""
    suffix = shell if shell in _COMPLETION_FILE_BY_SHELL else "ps1"
    folder = Path(__file__).with_name("shell_scripts")
    return folder.joinpath(f"completion.{suffix}").read_text(encoding="utf-8")


def show_completion_script() -> int:
    """Write the script for the current shell; raises InputError for another shell."""
    streams.write_stdout(read_completion_script(_detect_shell()))
    return ExitCode.OK


def install_completion_script() -> int:
    """Install the script for the current shell; raises InputError for another shell."""
    shell = _detect_shell()
    script = read_completion_script(shell)
    if shell in _COMPLETION_FILE_BY_SHELL:
        file = Path.home() / _COMPLETION_FILE_BY_SHELL[shell]
        streams.write_file(str(file), script)
        if shell in _START_UP_FILE_AND_LINE_BY_SHELL:
            name, line = _START_UP_FILE_AND_LINE_BY_SHELL[shell]
            _append_text_unless_present(Path.home() / name, line.format(file=file))
    else:
        command = [shell, "-NoProfile", "-Command", "$PROFILE"]
        profile = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        file = Path(profile.stdout.strip())
        _append_text_unless_present(file, script)
    streams.write_stdout(
        f"Completion for {shell} installed: {file}\nOpen a new terminal to use it.\n"
    )
    return ExitCode.OK


def _detect_shell() -> str:
    """Return the shell that started this program, or the user's; raises InputError."""
    names = ["powershell"] if sys.platform == "win32" else []
    with suppress(OSError):
        names.append(Path(f"/proc/{os.getppid()}/comm").read_text(encoding="utf-8").strip())
    names.append(Path(os.environ.get("SHELL", "")).name)
    shell = next((name for name in names if name in SUPPORTED_SHELLS), None)
    if shell is None:
        raise InputError(
            f"completion doesn't support {names[-1] or 'this shell'}: "
            f"expected {', '.join(SUPPORTED_SHELLS)}"
        )
    return shell


def _append_text_unless_present(file: Path, text: str) -> None:
    """Add lines to a start-up file, unless it has them."""
    with suppress(FileNotFoundError):
        existing = file.read_text(encoding="utf-8", errors="surrogateescape")
        if text in existing:
            return
        text = f"{existing.rstrip()}\n{text}" if existing.strip() else text
    streams.write_file(str(file), f"{text.rstrip()}\n".encode("utf-8", "surrogateescape"))
