"""Count the mutants that tests detect: `python tests/bench/mutants.py [SHARE [SEED] | NAME...]`.

mutmut changes `model`, `rules` and `evaluate` in one place at a time; `mutant_runner.py` runs the
tests that execute the changed function. SHARE is the part of each file's mutants that is tried (1
for all), drawn with SEED (1); a NAME is a mutant or a pattern such as `preflight.model.facts.*`.
Prints a table by file, then each mutant that no test detected and `survivors.yaml` doesn't explain.
The mutants are made again in `mutants/` each time, which takes minutes.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import yaml
from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant

FOLDER = Path(__file__).resolve().parent
MUTATED_PACKAGE = Path("mutants/src/preflight")
EXPLANATIONS_FILE = FOLDER / "survivors.yaml"
# mutmut makes all mutants and records which tests run which function before it runs the first
FEW_MUTANTS = "preflight.model.cases.*"


class Change(NamedTuple):
    """What a mutant changes: its function, the lines before and the lines after."""

    function: str
    before: str
    after: str


def main() -> None:
    """Make the mutants, run the chosen ones, and print the table and the survivors."""
    os.chdir(FOLDER.parents[1])
    shutil.rmtree("mutants", ignore_errors=True)  # mutmut keeps outdated copies of what it needs
    run_mutmut("run", "--max-children", "1", FEW_MUTANTS)
    mutants_by_file = dict(list_mutants())
    chosen = {
        file: choose_mutants(file, names, sys.argv[1:]) for file, names in mutants_by_file.items()
    }
    detected_by = run_mutants([name for names in chosen.values() for name in names])
    survivors = {name: read_change(name) for name, test in detected_by.items() if test is None}
    explained = read_explained_changes()
    print("| file | mutants | tried | detected | explained | % |\n|---|---:|---:|---:|---:|---:|")
    totals = [0, 0, 0, 0]
    for file, names in chosen.items():
        survived = [survivors[name] for name in names if name in survivors]
        explained_count = sum(change in explained for change in survived)
        detected_count = len(names) - len(survived)
        counts = [len(mutants_by_file[file]), len(names), detected_count, explained_count]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        print_row(file, *counts)
    print_row("all", *totals)
    for name, change in survivors.items():
        if change not in explained:
            print(f"\n{name}\n  before: {change.before}\n  after:  {change.after}")
    tried_functions = {function_of(name) for name in detected_by}
    for change in explained:
        is_tried = change.function in tried_functions and get_share() == 1
        if is_tried and change not in survivors.values():
            print(f"\nsurvivors.yaml explains a mutant of {change.function} that did not survive")
            print(f"  before: {change.before}")


def get_share() -> float:
    """Return the share of the mutants to try, from the command line."""
    return float(sys.argv[1]) if sys.argv[1:] and sys.argv[1][0].isdigit() else 1.0


def run_mutmut(*arguments: str) -> None:
    """Run mutmut without its progress display; exit with its output if it fails."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        output = re.sub(r"[\u2800-\u28ff].*\n?", "", done.stdout)  # the lines of its spinner
        hint = "mutmut fails if one of the tests that pyproject.toml selects for it does"
        sys.exit(f"{output[-4000:]}{done.stderr[-2000:]}\n{hint}")


def list_mutants() -> Iterator[tuple[str, list[str]]]:
    """Yield each file with the names of its mutants."""
    for meta in sorted(MUTATED_PACKAGE.rglob("*.meta")):
        names = sorted(json.loads(meta.read_text("utf-8"))["exit_code_by_key"])
        if names:
            yield str(meta.relative_to(MUTATED_PACKAGE)).removesuffix(".meta"), names


def choose_mutants(file: str, names: list[str], arguments: list[str]) -> list[str]:
    """Return the mutants of a file to try; the same seed draws the same ones."""
    if not arguments or arguments[0][0].isdigit():
        seed = arguments[1] if len(arguments) > 1 else "1"
        return random.Random(f"{seed} {file}").sample(names, math.ceil(get_share() * len(names)))
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in arguments)]


def run_mutants(names: list[str]) -> dict[str, str | None]:
    """Return what detects each mutant: a test, "time" (a hang or crash), or None (a survivor)."""
    names_file = Path("mutants/names.json").resolve()
    results_file = Path("mutants/results.json").resolve()
    names_file.write_text(json.dumps(names))
    results_file.unlink(missing_ok=True)
    command = [sys.executable, FOLDER / "mutant_runner.py", names_file, results_file]
    done = subprocess.run(command, stdout=sys.stderr)
    if done.returncode or not results_file.exists():
        sys.exit(f"mutant_runner.py exited with {done.returncode}")
    results: dict[str, str | None] = json.loads(results_file.read_text("utf-8"))
    return results


def function_of(name: str) -> str:
    """Return the function (or CLASS.METHOD) of a mutant, with its module."""
    module, _, mangled = name.partition("__mutmut_")[0].rpartition(".")
    method = mangled.removeprefix("xǁ").replace("ǁ", ".")
    return f"{module}.{mangled.removeprefix('x_') if method == mangled else method}"


def read_change(name: str) -> Change:
    """Return what a mutant changes."""
    lines = get_diff_for_mutant(name, path=find_mutant(name).path).splitlines()[2:]
    before = [line[1:].strip() for line in lines if line.startswith("-")]
    after = [line[1:].strip() for line in lines if line.startswith("+")]
    return Change(function_of(name), " ".join(before), " ".join(after))


def read_explained_changes() -> set[Change]:
    """Return the changes that no test can detect, with their reasons in `survivors.yaml`."""
    functions = yaml.safe_load(EXPLANATIONS_FILE.read_text("utf-8"))
    return {
        Change(function, entry["before"], entry["after"])
        for function, entries in functions.items()
        for entry in entries
    }


def print_row(file: str, mutants: int, tried: int, detected: int, explained: int) -> None:
    """Print one line of the table."""
    percent = 100 * detected / tried if tried else math.nan
    print(f"| {file} | {mutants:,} | {tried:,} | {detected:,} | {explained:,} | {percent:.1f} |")


if __name__ == "__main__":
    main()
