"""Where the time of a check goes: `python tests/bench/where.py [ROUNDS] [ARGUMENT]...`.

The arguments are those of preflight, `check` without any; a running engine is needed, and Linux.
Prints the stages of both processes, as medians from inside whole runs; what the imports of each
package cost by `-X importtime`, the least of all runs; and with valgrind the instructions of
`--version` and of a check of a snapshot, which are the same on a busy machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 21
ARGUMENTS = sys.argv[2:] or ["check"]
STAGES = str(Path(__file__).with_name("stages.py"))
# what pip compiles for users
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT["PYTHONHASHSEED"] = "0"
_IMPORT_TIME = re.compile(r"import time: +(\d+) \| +\d+ \| +(\S+)")
_INSTRUCTIONS = re.compile(r"Collected : (\d+)")
_WORKER_CODE = (
    "import sys, time, json, io, os\n"
    "from preflight.facts.collect.measurement import MeasurementOptions\n"
    "request = json.dumps([MeasurementOptions(), time.monotonic() + 9])\n"
    "sys.stdin = io.StringIO(request + '\\n[]\\n'); os.setsid()\n"
    "from preflight.facts.collect import worker; worker.serve_request()"
)
Times = dict[tuple[str, str], list[tuple[float, float]]]  # by process and stage, elapsed and CPU


def time_stages() -> tuple[Times, Times]:
    """Return the seconds of each stage and of each probe, in all rounds."""
    stages: Times = defaultdict(list)
    probes: Times = defaultdict(list)
    for number in range(ROUNDS + 1):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, STAGES, folder, str(time.monotonic()), *ARGUMENTS]
            subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=False)
            end = time.monotonic()
            for file in sorted(Path(folder).iterdir()) if number else ():
                marks, probe_times = json.loads(file.read_text(encoding="utf-8"))
                if file.stem == "program":
                    marks.append(["the end of the process", end, marks[-1][2]])
                sums: dict[str, tuple[float, float]] = {}
                for (_, start, start_cpu), (stage, stop, stop_cpu) in pairwise(marks):
                    elapsed, cpu = sums.get(stage, (0.0, 0.0))
                    sums[stage] = elapsed + stop - start, cpu + stop_cpu - start_cpu
                for stage, seconds in sums.items():
                    stages[file.stem, stage].append(seconds)
                for probe, seconds in probe_times.items():
                    probes[file.stem, probe].append(seconds)
    return stages, probes


def print_times(title: str, times: Times) -> None:
    """Print medians in milliseconds."""
    print(f"\n| {title} | stage | ms | CPU ms |\n|---|---|---:|---:|")
    for (process, stage), seconds in times.items():
        elapsed, cpu = (statistics.median(column) * 1000 for column in zip(*seconds, strict=True))
        print(f"| {process} | {stage} | {elapsed:.1f} | {cpu:.1f} |")


def print_imports(title: str, arguments: list[str]) -> None:
    """Print what the modules of each package cost to import, without those that they import."""
    least: dict[str, int] = {}
    for _ in range(min(ROUNDS, 9)):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *arguments],
            env=ENVIRONMENT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        for microseconds, module in _IMPORT_TIME.findall(done.stderr):
            least[module] = min(least.get(module, int(microseconds)), int(microseconds))
    sums, counts = Counter[str](), Counter[str]()
    for module, microseconds in least.items():
        parts = module.split(".")
        package = ".".join(parts[:2]) if parts[0] == "preflight" else parts[0]
        if package in sys.stdlib_module_names:
            package = "standard library"
        sums[package] += microseconds
        counts[package] += 1
    total = sum(sums.values()) / 1000
    print(f"\n| {title}: {len(least)} modules | modules | ms, of {total:.1f} |\n|---|---:|---:|")
    for package, microseconds in sums.most_common():
        if microseconds >= 500:
            print(f"| {package} | {counts[package]} | {microseconds / 1000:.1f} |")


def print_instructions() -> None:
    """Print how many instructions two commands take that wait for nothing."""
    with tempfile.TemporaryDirectory() as folder:
        snapshot = f"{folder}/facts.json"
        program = [sys.executable, "-m", "preflight"]
        subprocess.run([*program, "facts", "-o", snapshot], env=ENVIRONMENT, check=True)
        print("\n| command | million instructions |\n|---|---:|")
        for arguments in (["--version"], ["check", "--facts", snapshot]):
            done = subprocess.run(
                ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *program,
                 *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=False,
            )  # fmt: skip
            count = int(_INSTRUCTIONS.findall(done.stderr)[-1])
            print(f"| `preflight {' '.join(arguments[:2])}` | {count / 1e6:.0f} |")


def main() -> None:
    """Measure it all and print the tables."""
    stages, probes = time_stages()
    print_times("process", stages)
    print_times("probes at the same time", probes)
    print_imports("imports of the program", ["-m", "preflight", *ARGUMENTS])
    print_imports("imports of the worker", ["-c", _WORKER_CODE])
    if shutil.which("valgrind"):
        print_instructions()


if __name__ == "__main__":
    main()
