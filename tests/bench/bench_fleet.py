"""`preflight fleet` beside `ansible -m setup` on twelve hosts of loopback, side by side:
`python tests/bench/bench_fleet.py`, as root, with sshd installed.

Both ask the same hosts of the same inventory with the same forks. The first run of the fleet brings
preflight to the hosts, and is told apart; each ssh connection of `ansible` is kept open for the
next round, as it does by itself.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import support_path  # noqa: F401 - first

from farm import Farm

HOSTS, FORKS, ROUNDS = 12, 5, 5
PROGRAMS = Path(sys.executable).parent


def seconds(*command: str) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        [str(PROGRAMS / command[0]), *command[1:]], capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stderr
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        farm = Farm(Path(folder))
        try:
            for number in range(HOSTS):
                farm.start(f"node-{number:02}")
            inventory, forks = str(farm.inventory()), ("--forks", str(FORKS))
            fleet = ("preflight", "fleet", "-i", inventory, *forks, "-f", f"json:{os.devnull}")
            setup = ("ansible", "-i", inventory, *forks, "-m", "setup", "all")
            print(f"{HOSTS} hosts, {FORKS} forks, {os.cpu_count()} CPUs")
            print(f"preflight fleet, the first time   {seconds(*fleet):6.2f} s")
            rounds = [(seconds(*setup), seconds(*fleet)) for _ in range(ROUNDS)]
            setups, fleets = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"ansible -m setup                  {setups:6.2f} s   1.00")
            print(f"preflight fleet                   {fleets:6.2f} s   {fleets / setups:.2f}")
        finally:
            farm.end()


if __name__ == "__main__":
    main()
