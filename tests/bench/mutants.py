"""How many mutants the tests find: `python tests/bench/mutants.py [SHARE] [SEED]`.

mutmut changes model, rules and evaluate in one place at a time, and runs the tests that come by
there. SHARE is the part of each file's mutants that is tried (0.1; 1 is all of them), chosen by
SEED (1). Prints a table by file, then the mutants that no test found: `mutmut show NAME`.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SHARE = float(sys.argv[1]) if len(sys.argv) > 1 else 0.1
SEED = sys.argv[2] if len(sys.argv) > 2 else "1"
CHILDREN = os.environ.get("MUTMUT_CHILDREN", "1")
MADE = Path("mutants/src/preflight")
SMALLEST = "preflight.model.cases.*"  # mutmut makes all mutants, and measures, before it runs any
ALIVE = (0, 5, 33)  # the tests passed, or there are none


def main() -> None:
    """Make the mutants, run a sample of them, and print what came of it."""
    os.chdir(Path(__file__).parents[2])
    mutmut(SMALLEST)
    chosen = {file: sample(file, codes) for file, codes in results()}
    mutmut(*(name for names in chosen.values() for name in names))
    print("| file | mutants | tried | found | % |\n|---|---:|---:|---:|---:|")
    survivors, rows = [], [0, 0, 0]
    for file, codes in results():
        alive = [name for name in chosen[file] if codes[name] in ALIVE]
        row = (len(codes), len(chosen[file]), len(chosen[file]) - len(alive))
        rows = [total + one for total, one in zip(rows, row, strict=True)]
        survivors += [f"{codes[name]:>4} {name}" for name in alive]
        print_row(file, *row)
    print_row("all", *rows)
    print(*survivors, sep="\n")


def mutmut(*names: str) -> None:
    """Run these mutants; mutmut draws as it goes, which is of no use here."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", CHILDREN, *names]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-4000:] + done.stderr[-2000:])


def results() -> Iterator[tuple[str, dict[str, int | None]]]:
    """Yield each file with pytest's exit code by mutant."""
    for meta in sorted(MADE.rglob("*.meta")):
        codes = json.loads(meta.read_text("utf-8"))["exit_code_by_key"]
        if codes:
            yield str(meta.relative_to(MADE)).removesuffix(".meta"), codes


def sample(file: str, codes: dict[str, int | None]) -> list[str]:
    """Choose mutants of a file, the same ones each time."""
    return random.Random(f"{SEED} {file}").sample(sorted(codes), math.ceil(SHARE * len(codes)))


def print_row(file: str, mutants: int, tried: int, found: int) -> None:
    """Print one line of the table."""
    print(f"| {file} | {mutants:,} | {tried:,} | {found:,} | {100 * found / tried:.1f} |")


if __name__ == "__main__":
    main()
