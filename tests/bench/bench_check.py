"""Time and memory of whole processes, side by side: `python tests/bench/bench_check.py [ROUNDS]`.

Needs a running engine (DOCKER_HOST or the default socket), the docker CLI and taskset. Prints a
table of medians with all CPUs and one with a single CPU, as many CI jobs have. The ratios are to a
baseline, a script that reads the same figures the obvious way, and are taken round by round, so
that what else runs on the machine matters less; CPU seconds are those of all child processes.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 21
BASELINE = """
import docker, psutil, rich.console, rich.table, typer, yaml
app = typer.Typer()
@app.command()
def main() -> None:
    info = docker.from_env().info()
    table = rich.table.Table("what", "found")
    table.add_row("memory", str(psutil.virtual_memory().total))
    table.add_row("free disk", str(psutil.disk_usage(".").free))
    table.add_row("docker memory", str(info["MemTotal"]))
    table.add_row("docker cpus", str(info["NCPU"]))
    rich.console.Console().print(table)
app()
"""
BY_HAND = "free -h; docker system info; docker stats --no-stream; docker system df"
BASELINE_NAME = "baseline script"
ONE_CPU = ["taskset", "-c", "0"]


class Run(NamedTuple):
    """What one whole process took, in seconds."""

    wall: float
    cpu: float


def commands(folder: Path) -> dict[str, list[str]]:
    """Return what is run, by the name it has in the table."""
    script = folder / "baseline.py"
    script.write_text(BASELINE, encoding="utf-8")
    preflight = str(Path(sys.executable).with_name("preflight"))
    return {
        BASELINE_NAME: [sys.executable, str(script)],
        "preflight check": [preflight, "check"],
        "preflight check -f json": [preflight, "check", "-f", "json"],
        "preflight --version": [preflight, "--version"],
        "preflight --help": [preflight, "--help"],
        "the document's commands": ["sh", "-c", BY_HAND],
    }


def run(command: list[str], folder: Path) -> Run:
    """Run one whole process; whatever the verdict on this machine and engine, it was judged."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    verdicts = {0, 1, 3} if "check" in command else {0}
    if done.returncode not in verdicts:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.decode()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall, cpu)


def measure(chosen: dict[str, list[str]], folder: Path) -> dict[str, list[Run]]:
    """Run everything round by round, once before that so that all is in the page cache."""
    runs: dict[str, list[Run]] = {name: [] for name in chosen}
    for number in range(ROUNDS + 1):
        for name, command in chosen.items():
            result = run(command, folder)
            if number:
                runs[name].append(result)
    return runs


def print_table(title: str, runs: dict[str, list[Run]]) -> None:
    """Print the medians of times, and of the ratios to the baseline of the same round."""
    print(f"\n{title}, medians of {ROUNDS}\n")
    print("| command | ms | CPU ms | time / baseline | CPU / baseline |")
    print("|---|---:|---:|---:|---:|")
    baseline = runs[BASELINE_NAME]
    for name, results in runs.items():
        pairs = list(zip(results, baseline, strict=True))
        wall = statistics.median(one.wall for one in results) * 1000
        cpu = statistics.median(one.cpu for one in results) * 1000
        wall_ratio = statistics.median(one.wall / base.wall for one, base in pairs)
        cpu_ratio = statistics.median(one.cpu / base.cpu for one, base in pairs)
        print(f"| `{name}` | {wall:.0f} | {cpu:.0f} | {wall_ratio:.2f} | {cpu_ratio:.2f} |")


def peak_memory(command: list[str], folder: Path) -> tuple[float, float]:
    """Return MiB at the peak: the largest process (RSS), and all together (PSS), by sampling."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    largest, together = 0.0, 0.0
    done = threading.Event()
    threading.Thread(target=lambda: (process.wait(), done.set()), daemon=True).start()
    while not done.wait(0.001):
        sizes = [_size(pid) for pid in _family(process.pid)]
        largest = max([largest, *(rss for rss, _ in sizes)])
        together = max(together, sum(pss for _, pss in sizes))
    return largest, together


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return [pid]
    return [pid, *map(int, children)]


def _size(pid: int) -> tuple[float, float]:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0, 0.0
    rows = {line.split(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
    return int(rows.get("Rss", 0)) / 1024, int(rows.get("Pss", 0)) / 1024


def main() -> None:
    """Measure it all and print the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = commands(folder)
        print(f"Python {sys.version.split()[0]}")
        print_table(f"{os.cpu_count()} CPUs", measure(chosen, folder))
        pinned = {
            name: [*ONE_CPU, *command] for name, command in chosen.items() if "document" not in name
        }
        print_table("1 CPU", measure(pinned, folder))
        peaks = [peak_memory(chosen["preflight check"], folder) for _ in range(5)]
        largest = statistics.median(peak[0] for peak in peaks)
        together = statistics.median(peak[1] for peak in peaks)
        print(f"\npeak memory: {largest:.0f} MiB the largest process, {together:.0f} MiB together")


if __name__ == "__main__":
    main()
