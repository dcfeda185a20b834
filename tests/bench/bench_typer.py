"""What a start costs with Typer 0.28 and from 0.29 on: `python tests/bench/bench_typer.py`.

Installs both into environments of their own, and prints the medians of a program of two commands.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROUNDS = 11
VERSIONS = ("typer<0.29", "typer>=0.29")
PROGRAM = """
import typer
app = typer.Typer()
@app.command()
def check(quiet: bool = False, rules: list[str] = []) -> None: pass
@app.command()
def facts(output: str = "-") -> None: pass
app()
"""


def install(folder: Path, requirement: str) -> tuple[str, str]:
    """Make an environment; returns its interpreter, and the version that was installed."""
    venv.create(folder, with_pip=True)
    python = str(folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", requirement], check=True)
    code = "import importlib.metadata as m; print(m.version('typer'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return python, done.stdout.strip()


def main() -> None:
    """Install, measure in turn, and print the table."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        (top / "program.py").write_text(PROGRAM, encoding="utf-8")
        installed = [install(top / str(n), version) for n, version in enumerate(VERSIONS)]
        seconds: dict[str, list[float]] = {version: [] for _, version in installed}
        for number in range(ROUNDS + 1):
            for python, version in installed:
                start = time.perf_counter()
                subprocess.run([python, str(top / "program.py"), "check"], check=True)
                if number:
                    seconds[version].append(time.perf_counter() - start)
        print(f"Python {sys.version.split()[0]}, medians of {ROUNDS}\n\n| Typer | ms |\n|---|---:|")
        for version, times in seconds.items():
            print(f"| {version} | {statistics.median(times) * 1000:.0f} |")


if __name__ == "__main__":
    main()
