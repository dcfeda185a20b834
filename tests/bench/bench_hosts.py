"""Many saved snapshots judged and shown, as whole processes: `python tests/bench/bench_hosts.py`.

Prints seconds, and MiB at the process' peak, by the number of snapshots and by format; medians of
some runs. The limit is 5 s and 300 MiB for 1,000. Wall time and CPU time stand side by side: where
they differ, others were using the CPUs. The ratio is to a process for each snapshot.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from preflight.render import RENDERERS

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
SIZES = (1, 10, 100, 1_000, 10_000)
LIMIT = 1_000
CASES = sorted(Path(__file__).parent.parent.glob("cases/*/facts.json"))
PREFLIGHT = str(Path(sys.executable).with_name("preflight"))


class Cost(NamedTuple):
    """What one process took: seconds by the clock and of CPU, and MiB at its peak."""

    wall: float
    cpu: float
    peak: float


def snapshots(folder: Path, count: int) -> None:
    """Fill a folder with so many snapshots of the tests' machines, each of them in turn."""
    folder.mkdir()
    for number in range(count):
        shutil.copyfile(CASES[number % len(CASES)], folder / f"host-{number:05}.json")


def run(arguments: Iterable[str], folder: Path) -> Cost:
    """Run preflight once; it ends with a verdict, of whatever kind."""
    start = time.perf_counter()
    process = subprocess.Popen([PREFLIGHT, *arguments], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1, 3):
        sys.exit(f"preflight {' '.join(arguments)} ended with {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(costs: list[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(*(statistics.median(figures) for figures in zip(*costs, strict=True)))


def measured(folder: Path, count: int, *formats: str) -> Cost:
    """Return what it takes to judge so many and to write them to files, in these formats."""
    outputs = [part for name in formats for part in ("-f", f"{name}:{name}.out")]
    command = ["check", "--facts", str(count), *outputs]
    return median([run(command, folder) for _ in range(ROUNDS)])


def one_by_one(folder: Path, count: int) -> float:
    """Return the seconds that so many processes take, a snapshot each."""
    start = time.perf_counter()
    for file in sorted((folder / str(count)).iterdir()):
        run(["check", "--facts", str(file)], folder)
    return time.perf_counter() - start


def main() -> None:
    """Measure it all and print the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in SIZES:
            snapshots(folder / str(count), count)
        print(f"medians of {ROUNDS}, Python {sys.version.split()[0]}, {os.cpu_count()} CPUs\n")
        print("| snapshots | text s | CPU s | MiB | json s | CPU s | MiB | ms a host |")
        print("|---:|---:|---:|---:|---:|---:|---:|---:|")
        for count in SIZES:
            text, as_json = measured(folder, count, "text"), measured(folder, count, "json")
            figures = [f"{c.wall:.2f} | {c.cpu:.2f} | {c.peak:.0f}" for c in (text, as_json)]
            print(f"| {count:,} | {' | '.join(figures)} | {text.cpu / count * 1000:.1f} |")
        ratio = one_by_one(folder, 100) / measured(folder, 100, "text").wall
        print(f"\n100 processes of a snapshot each take {ratio:.0f} times as long as one of 100\n")
        print(f"| format, {LIMIT:,} snapshots | s | CPU s | MiB | MB written |")
        print("|---|---:|---:|---:|---:|")
        for chosen in (*((one,) for one in RENDERERS), tuple(RENDERERS)):
            cost = measured(folder, LIMIT, *chosen)
            size = sum((folder / f"{one}.out").stat().st_size for one in chosen) / 1e6
            what = chosen[0] if len(chosen) == 1 else f"all {len(chosen)}"
            print(f"| {what} | {cost.wall:.2f} | {cost.cpu:.2f} | {cost.peak:.0f} | {size:.1f} |")


if __name__ == "__main__":
    main()
