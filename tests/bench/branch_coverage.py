"""Measure line and branch coverage: `python tests/bench/branch_coverage.py [pytest arguments]`.

Runs the tests with coverage.py in every process: pytest, its xdist workers (`-n 3`), and whatever
the tests start or fork, such as `python -m preflight` and its worker. Prints the lines and branches
that are missed, writes an HTML report to `build/coverage`, and fails below `fail_under` of
pyproject.toml. The figure is a lower bound: a worker that the program kills after its answer can't
write its data. Failing tests are printed but don't count here: measuring is slow, so deadlines are
missed, and a process with another user or a maximum file size can't write its data either. Tests
must pass in `.ci/run`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import support_path  # noqa: F401 - first

from paths import ROOT


def main() -> None:
    """Run the tests, combine the data of all processes, and print the report."""
    with tempfile.TemporaryDirectory(prefix="preflight-coverage-") as folder:
        os.environ["COVERAGE_FILE"] = f"{folder}/data"
        require_measured_subprocesses()
        run_coverage("run", "-m", "pytest", "-q", *sys.argv[1:])
        run_coverage("combine", "-q")
        run_coverage("html", "-q", "-d", str(ROOT / "build/coverage"))
        sys.exit(run_coverage("report", "--show-missing", "--skip-covered"))


def run_coverage(*arguments: str) -> int:
    """Run a command of coverage.py; return its exit code."""
    return subprocess.run([sys.executable, "-m", "coverage", *arguments], cwd=ROOT).returncode


def require_measured_subprocesses() -> None:
    """Exit unless a new process starts coverage.py, by the .pth file that comes with it.

    Python reads .pth files only in its own site-packages. An environment that takes coverage.py
    from another one's folder would measure no subprocess, and the figure would be far too low.
    """
    code = "import sys; sys.exit('coverage' not in sys.modules)"
    environment = {**os.environ, "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml")}
    if subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT).returncode:
        sys.exit(
            "subprocesses would not be measured: coverage.py has no .pth file in the site-packages "
            f"of {sys.executable}; run `{sys.executable} -m pip install --force-reinstall coverage`"
        )


if __name__ == "__main__":
    main()
