"""What judging saved snapshots costs, by their number and by format:
`python tests/bench/bench_hosts.py`.

The snapshots are those of `tests/cases`, copied under other names. Seconds are of processors, so
that what else runs here counts less; memory is the most that the process held.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import support_path  # noqa: F401 - first

from paths import CASES
from preflight.render import FORMATS

NUMBERS = (1, 10, 100, 1_000, 10_000)
FORMATS_AT = 1_000
CONTAINERS = 1_000


def run(*arguments: str) -> tuple[float, int]:
    """Return the seconds of processors and the bytes of memory of one run of the program."""
    program = str(Path(sys.executable).with_name("preflight"))
    nothing = os.open(os.devnull, os.O_WRONLY)
    pid = os.posix_spawn(
        program, [program, *arguments], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nothing, 1)]
    )
    _, status, usage = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 1, 3), arguments
    os.close(nothing)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def fill(folder: Path, number: int) -> None:
    """Put so many snapshots into a folder, the same again and again."""
    sources = sorted(CASES.glob("*/facts.json"))
    for at in range(len(list(folder.iterdir())), number):
        shutil.copy(sources[at % len(sources)], folder / f"host-{at:05}.json")


def crowded(number: int) -> dict[str, Any]:
    """Return a snapshot with so many containers."""
    snapshot: dict[str, Any] = json.loads((CASES / "linux-healthy/facts.json").read_text())
    one = {
        "service": "api", "state": "running", "exit_code": None, "restarts": 0, "restarting": False,
        "oom_killed": False, "memory": {"usage": 10**8, "limit": 10**9, "parent": None},
        "drift": None, "log": {"rotated": True},
    }  # fmt: skip
    snapshot["facts"]["stack"] = {"containers": {f"api-{n}": one for n in range(number)}}
    snapshot["unknown"] = {
        path: why for path, why in snapshot["unknown"].items() if not path.startswith("stack")
    }
    return snapshot


def main() -> None:
    """Measure it all and print the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "snapshots"
        folder.mkdir()
        print("| snapshots | s | ms each | MiB |\n|---:|---:|---:|---:|")
        for number in NUMBERS:
            fill(folder, number)
            seconds, memory = run("check", "--facts", str(folder), "-f", "text")
            each = seconds / number * 1000
            print(f"| {number:,} | {seconds:.2f} | {each:.2f} | {memory / 2**20:.0f} |")
            if number == FORMATS_AT:
                rows = [
                    (one, *run("check", "--facts", str(folder), "-f", f"{one}:{name}/report"))
                    for one in FORMATS
                ]
        print(f"\n| format, {FORMATS_AT:,} snapshots | s | MiB |\n|---|---:|---:|")
        for one, seconds, memory in rows:
            print(f"| {one} | {seconds:.2f} | {memory / 2**20:.0f} |")
        file = Path(name) / "crowded.json"
        file.write_text(json.dumps(crowded(CONTAINERS)))
        seconds, memory = run("check", "--facts", str(file))
        print(
            f"\nA snapshot of {CONTAINERS:,} containers: {seconds:.2f} s, {memory / 2**20:.0f} MiB."
        )


if __name__ == "__main__":
    main()
