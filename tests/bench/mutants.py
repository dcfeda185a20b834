"""How many mutants the tests find: `python tests/bench/mutants.py [SHARE [SEED] | NAME...]`.

mutmut changes model, rules and evaluate in one place at a time; `mutant_runner` runs the tests that
come by there. SHARE is the part of each file's mutants that is tried (1, all of them), chosen by
SEED (1); a NAME is a mutant, or a pattern of names, such as `preflight.model.facts.*`. Prints a
table by file, then each mutant that no test found and `survivors.yaml` doesn't explain. It keeps
what it made in `mutants/`, and makes anew what has changed.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import yaml
from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant

HERE = Path(__file__).resolve().parent
MADE = Path("mutants/src/preflight")
EXPLAINED = HERE / "survivors.yaml"
SMALLEST = "preflight.model.cases.*"  # mutmut makes all mutants, and measures, before it runs any


class Change(NamedTuple):
    """What a mutant is: the function, the lines taken from it and the lines put there."""

    function: str
    was: str
    now: str


def main() -> None:
    """Make the mutants, run those that are chosen, and print what came of it."""
    os.chdir(HERE.parents[1])
    mutmut("run", "--max-children", "1", SMALLEST)
    made = dict(mutants())
    chosen = {file: choose(file, names, sys.argv[1:]) for file, names in made.items()}
    found = run([name for names in chosen.values() for name in names])
    alive = {name: change_of(name) for name, by in found.items() if by is None}
    explained = explanations()
    print("| file | mutants | tried | found | explained | % |\n|---|---:|---:|---:|---:|---:|")
    total = [0, 0, 0, 0]
    for file, names in chosen.items():
        left = [alive[name] for name in names if name in alive]
        known = sum(change in explained for change in left)
        row = [len(made[file]), len(names), len(names) - len(left), known]
        total = [one + more for one, more in zip(total, row, strict=True)]
        print_row(file, *row)
    print_row("all", *total)
    for name, change in alive.items():
        if change not in explained:
            print(f"\n{name}\n  was: {change.was}\n  now: {change.now}")
    of_tried = {function_of(name) for name in found}
    for change in explained:
        if change not in alive.values() and change.function in of_tried and share() == 1:
            print(f"\n{change.function} has no such survivor\n  was: {change.was}")


def share() -> float:
    """Return the part of the mutants that is asked for."""
    return float(sys.argv[1]) if sys.argv[1:] and sys.argv[1][0].isdigit() else 1.0


def mutmut(*words: str) -> None:
    """Run mutmut; it draws as it goes, which is of no use here."""
    done = subprocess.run([sys.executable, "-m", "mutmut", *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-4000:] + done.stderr[-2000:])


def mutants() -> Iterator[tuple[str, list[str]]]:
    """Yield each file with the names of its mutants."""
    for meta in sorted(MADE.rglob("*.meta")):
        names = sorted(json.loads(meta.read_text("utf-8"))["exit_code_by_key"])
        if names:
            yield str(meta.relative_to(MADE)).removesuffix(".meta"), names


def choose(file: str, names: list[str], asked: list[str]) -> list[str]:
    """Choose mutants of a file: the same ones each time."""
    if not asked or asked[0][0].isdigit():
        seed = asked[1] if len(asked) > 1 else "1"
        return random.Random(f"{seed} {file}").sample(names, math.ceil(share() * len(names)))
    return [name for name in names if any(fnmatchcase(name, one) for one in asked)]


def run(names: list[str]) -> dict[str, str | None]:
    """Return what finds each mutant: a test, or "time" where it hung or crashed; None: nothing."""
    asked, told = Path("mutants/asked.json").resolve(), Path("mutants/told.json").resolve()
    asked.write_text(json.dumps(names))
    told.unlink(missing_ok=True)
    command = [sys.executable, HERE / "mutant_runner.py", asked, told]
    done = subprocess.run(command, stdout=sys.stderr)
    if done.returncode or not told.exists():
        sys.exit(f"mutant_runner.py ended with {done.returncode}")
    found: dict[str, str | None] = json.loads(told.read_text("utf-8"))
    return found


def function_of(name: str) -> str:
    """Return the function, or CLASS.METHOD, that a mutant is one of, with its module."""
    module, _, mangled = name.partition("__mutmut_")[0].rpartition(".")
    method = mangled.removeprefix("xǁ").replace("ǁ", ".")
    return f"{module}.{mangled.removeprefix('x_') if method == mangled else method}"


def change_of(name: str) -> Change:
    """Return what a mutant changes."""
    lines = get_diff_for_mutant(name, path=find_mutant(name).path).splitlines()[2:]
    was = [line[1:].strip() for line in lines if line.startswith("-")]
    now = [line[1:].strip() for line in lines if line.startswith("+")]
    return Change(function_of(name), " ".join(was), " ".join(now))


def explanations() -> dict[Change, str]:
    """Return why no test can find a mutant, by its change."""
    told = yaml.safe_load(EXPLAINED.read_text("utf-8")) if EXPLAINED.exists() else None
    return {
        Change(function, one["was"], one["now"]): one["why"]
        for function, those in (told or {}).items()
        for one in those
    }


def print_row(file: str, mutants: int, tried: int, found: int, explained: int) -> None:
    """Print one line of the table."""
    of_all = 100 * found / tried if tried else math.nan
    print(f"| {file} | {mutants:,} | {tried:,} | {found:,} | {explained:,} | {of_all:.1f} |")


if __name__ == "__main__":
    main()
