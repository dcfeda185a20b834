"""The scripts with which shells ask: in bash itself, and where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from preflight.cli import completion_scripts
from preflight.model.problems import InputError

TYPER_SCRIPT = """\
_preflight_completion() {
    local IFS=$'\\n'
    COMPREPLY=( $( env COMP_WORDS="${COMP_WORDS[*]}" \\
                   COMP_CWORD=$COMP_CWORD \\
                   _PREFLIGHT_COMPLETE=complete_bash $1 ) )
    return 0
}

complete -o default -F _preflight_completion preflight
"""
"""What versions before this one installed."""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    "script", [TYPER_SCRIPT, completion_scripts.read_completion_script("bash")]
)
def test_bash_completes_with_the_scripts_of_before_and_now(script: str, tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    code = f"""{script}
        COMP_WORDS=(preflight check --set '"a b"' --on); COMP_CWORD=4
        _preflight_completion preflight; echo "${{COMPREPLY[*]}}"
        COMP_WORDS=(preflight check --rules ''); COMP_CWORD=3
        _preflight_completion preflight; echo "${{#COMPREPLY[@]}} offers" """
    done = subprocess.run(
        ["bash", "--norc", "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("--online --only\n0 offers\n", "")


@pytest.mark.parametrize(
    ("shell", "file", "start_up"),
    [
        ("bash", ".bash_completions/preflight.sh", ".bashrc"),
        ("zsh", ".zfunc/_preflight", ".zshrc"),
        ("fish", ".config/fish/completions/preflight.fish", None),
    ],
)
def test_a_script_is_installed_once(
    shell: str, file: str, start_up: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    monkeypatch.setattr(os, "getppid", lambda: -1)
    if start_up:
        (tmp_path / start_up).write_bytes(b"alias caf\xe9=x\n")
    for _ in range(2):
        assert completion_scripts.install_completion_script() == 0
    assert f"{shell} installed: {tmp_path / file}\n" in capsys.readouterr().out
    assert completion_scripts.show_completion_script() == 0
    assert (tmp_path / file).read_text() == capsys.readouterr().out
    if start_up:
        first, *lines = (tmp_path / start_up).read_bytes().splitlines()
        assert (first, len(lines)) == (b"alias caf\xe9=x", 1)


def test_a_shell_without_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", lambda: -1)
    monkeypatch.setenv("SHELL", "/bin/ksh")
    with pytest.raises(
        InputError, match=r"^completion doesn't support ksh: expected bash, zsh, fish,"
    ):
        completion_scripts.show_completion_script()
