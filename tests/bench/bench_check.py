"""Time and memory of whole processes, side by side in one run: `python tests/bench/bench_check.py`.

Needs a running engine (DOCKER_HOST or the default socket) and the docker CLI. Prints a table of
medians; the ratio is to a baseline, a script that reads the same figures the obvious way.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

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


def commands(folder: Path) -> dict[str, list[str]]:
    """Return what is run, by the name it has in the table."""
    script = folder / "baseline.py"
    script.write_text(BASELINE, encoding="utf-8")
    preflight = str(Path(sys.executable).with_name("preflight"))
    return {
        "baseline script": [sys.executable, str(script)],
        "preflight check": [preflight, "check"],
        "preflight check -f json": [preflight, "check", "-f", "json"],
        "preflight --version": [preflight, "--version"],
        "preflight --help": [preflight, "--help"],
        "the document's commands": ["sh", "-c", BY_HAND],
    }


def run(command: list[str], folder: Path) -> float:
    """Return the seconds that one whole process takes."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:  # of preflight too: this engine and machine must pass
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.decode()}")
    return seconds


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


def medians(chosen: dict[str, list[str]], folder: Path) -> dict[str, float]:
    """Run everything round by round; return the seconds that each takes, and say of how many."""
    seconds: dict[str, list[float]] = {what: [] for what in chosen}
    for command in chosen.values():
        run(command, folder)  # once unmeasured, so that all is in the page cache
    for _ in range(ROUNDS):
        for what, command in chosen.items():
            seconds[what].append(run(command, folder))
    print(f"medians of {ROUNDS}, Python {sys.version.split()[0]}, {os.cpu_count()} CPUs\n")
    return {what: statistics.median(times) for what, times in seconds.items()}


def main() -> None:
    """Measure it all and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = commands(folder)
        seconds = medians(chosen, folder)
        base, hand = seconds["baseline script"], seconds["the document's commands"]
        print("| command | ms | of the baseline | of the document's commands |")
        print("|---|---:|---:|---:|")
        for what, median in seconds.items():
            print(f"| `{what}` | {median * 1000:.0f} | {median / base:.2f} | {median / hand:.2f} |")
        peaks = [peak_memory(chosen["preflight check"], folder) for _ in range(5)]
        largest = statistics.median(peak[0] for peak in peaks)
        together = statistics.median(peak[1] for peak in peaks)
        print(f"\npeak memory: {largest:.0f} MiB the largest process, {together:.0f} MiB together")


if __name__ == "__main__":
    main()
