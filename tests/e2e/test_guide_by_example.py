"""The guide of own rules: each of its steps is run, and prints what the page says.

PREFLIGHT_WRITE_GOLDEN=1 writes the output into the page.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from paths import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]

PAGE = ROOT / "docs/guides/own-rules.md"
BLOCK = re.compile(r"```(\w+)(?: title=\"([^\"]*)\")?\n(.*?)```\n", re.DOTALL)
WRITE = os.environ.get("PREFLIGHT_WRITE_GOLDEN")
ADDED = ", added at the end"


def without_changing_figures(text: str) -> str:
    """Return output without what differs from run to run, and from version to version."""
    text = re.sub(r"^Judged from a snapshot of .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r" · \d+\.\d+ s$", " · 0.01 s", text, flags=re.MULTILINE)
    return re.sub(r"^(\S+: )\d\d+ rules", r"\1… rules", text, flags=re.MULTILINE)


def test_each_step_of_the_guide_does_what_it_says(run_preflight: Run, tmp_path: Path) -> None:
    (tmp_path / "tests/vm").mkdir(parents=True)
    environment = {"PREFLIGHT_FACTS": str(ROOT / "tests/guides/facts.json"), "COLUMNS": "80"}
    commands = []

    def run_step(block: re.Match[str]) -> str:
        kind, title, content = block.groups()
        if kind != "console":
            file = tmp_path / title.removesuffix(ADDED)
            before = file.read_text() if title.endswith(ADDED) else ""
            file.write_text(before + content)
            return block[0]
        lines = []
        for command in re.findall(r"^\$ (preflight .*)$", content, re.MULTILINE):
            done = run_preflight(*shlex.split(command)[1:], cwd=tmp_path, env=environment)
            lines.append(f"$ {command}\n{without_changing_figures(done.stdout + done.stderr)}")
            commands.append((command, done.returncode))
        return f"```console\n{''.join(lines)}```\n"

    text = PAGE.read_text(encoding="utf-8")
    expected = BLOCK.sub(run_step, text)
    if WRITE:
        PAGE.write_text(expected, encoding="utf-8")
    else:
        assert expected == text
    codes = dict(commands)
    assert codes["preflight check --set system_overhead=3GB"] == 1
    assert codes["preflight rules validate broken.yaml"] == 1
    assert codes["preflight check --profile large --only shop-memory"] == 1
    assert codes["preflight rules test tests"] == 0
    assert codes["preflight rules document --check REQUIREMENTS.md"] == 0
    assert codes["preflight check --only data-disk"] == 0
    assert len(codes) == 12
