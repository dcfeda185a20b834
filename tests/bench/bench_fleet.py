"""What a fleet costs beside Ansible's own setup: `python tests/bench/bench_fleet.py [ROUNDS]`.

Needs root, sshd and the tests' packages: it starts twelve hosts on loopback, lets `preflight fleet`
install itself on each, and then runs both over the same inventory in turn, as many hosts at a time.
Medians, and ratios within one run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from farm import Farm

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
HOSTS = 12
TOOLS = Path(sys.executable).parent


def commands(inventory: Path) -> dict[str, list[str]]:
    """Return what is run, by the name it has in the table."""
    common = ["-i", str(inventory), "--forks", str(HOSTS)]
    setup = [str(TOOLS / "ansible"), "all", "-m", "setup", *common]
    return {
        "`ansible -m setup`": setup,
        "`ANSIBLE_PIPELINING=1 ansible -m setup`": ["env", "ANSIBLE_PIPELINING=1", *setup],
        "`preflight fleet`": [str(TOOLS / "preflight"), "fleet", *common],
    }


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="pf-") as folder:
        farm = Farm(Path(folder))
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "XDG_CACHE_HOME": f"{folder}/cache"}
        try:
            for number in range(HOSTS):
                farm.start(f"host-{number}", env)  # one cache of all: it is installed once
            report(medians(commands(farm.inventory()), Path(folder)))
        finally:
            farm.end()


def medians(chosen: dict[str, list[str]], folder: Path) -> dict[str, float]:
    """Return the seconds that each takes, run in turn after a first time that isn't counted."""
    taken: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(ROUNDS + 1):
        for name, command in chosen.items():
            start = time.perf_counter()
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            taken[name].append(time.perf_counter() - start)
            if done.returncode not in (0, 1, 3) or "nreachable" in done.stdout:
                sys.exit(f"{name}: {done.stdout[-2000:]}{done.stderr}")
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


def report(seconds: dict[str, float]) -> None:
    """Print how long each took, and of each way of Ansible's how much that is."""
    bases = list(seconds.values())[:2]
    print(f"{HOSTS} hosts, medians of {ROUNDS}, {os.cpu_count()} CPUs\n")
    print("| command | s | of setup | of setup with pipelining |\n|---|---:|---:|---:|")
    for name, took in seconds.items():
        print(f"| {name} | {took:.2f} | {' | '.join(f'{took / base:.2f}' for base in bases)} |")


if __name__ == "__main__":
    main()
