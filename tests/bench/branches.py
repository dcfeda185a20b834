"""Branch coverage of the whole program: `python tests/bench/branches.py [arguments of pytest]`.

Runs the tests with every process that they start measured: `python -m preflight`, its reader,
the helpers that search a log. Prints what is missed by file, and fails below `fail_under`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import support_path  # noqa: F401 - first

from paths import ROOT

HINDERED = (  # the measuring itself imports modules, and writes files: not small, of root
    "tests/test_layout.py::test_a_start_imports_no_more_than_it_did",
    "tests/faults/test_surroundings.py::test_the_verdicts_hold[no core, no file but small ones]",
    "tests/faults/test_surroundings.py::test_the_verdicts_hold[an ordinary user",
)


def main() -> None:
    """Run the tests, put together what each process has met, and print it."""
    with tempfile.TemporaryDirectory(prefix="preflight-branches-") as folder:
        os.environ["COVERAGE_FILE"] = f"{folder}/data"
        left_out = [f"--deselect={test}" for test in HINDERED]
        tests = coverage("run", "-m", "pytest", "-q", *left_out, *sys.argv[1:])
        coverage("combine", "-q")
        coverage("html", "-q", "-d", str(ROOT / "build/branches"))
        report = coverage("report", "--show-missing", "--skip-covered")
    sys.exit(tests or report)


def coverage(*words: str) -> int:
    """Run a command of coverage.py; returns its exit code."""
    return subprocess.run([sys.executable, "-m", "coverage", *words], cwd=ROOT).returncode


if __name__ == "__main__":
    main()
