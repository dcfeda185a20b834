"""Measure how time and memory grow with the input: `python tests/bench/bench_scale.py [INPUT...]`.

INPUT is any of rules, services, containers, running, logs, snapshots; default: all. Prints the
median time of three whole processes, and the peak memory of the largest process. Growth is the
exponent with which the time beyond that of the smallest size grows between the last two sizes: 1 is
linear. `containers` and `running` start a dockerd, which takes root; `logs` takes 8 GiB of disk.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import support_path  # noqa: F401 - first
from bench_diagnose import EVERY, make
from bench_hosts import fill
from bench_rules import rule_file

from engines import IMAGE, Engine, make_image, start_dockerd, stop
from paths import ROOT

ROUNDS = 3
PREFLIGHT = str(Path(sys.executable).with_name("preflight"))
NO_ENGINE = ["--docker-host", "unix:///nonexistent"]
# run by a small process: the peak memory of a child includes what its parent held at the fork
MEASURE = """
import os, resource, sys, time
start = time.perf_counter()
code = os.spawnv(os.P_WAIT, sys.argv[1], sys.argv[1:])
seconds = time.perf_counter() - start
print(code, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""

Command = list[str]
Case = tuple[int, Command]


def run(command: Command) -> tuple[float, float]:
    """Run a command; return seconds and peak memory in MiB."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", MEASURE, *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    code, seconds, kibibytes = done.stderr.splitlines()[-1].split()
    if code not in ("0", "1", "3"):
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return float(seconds), int(kibibytes) / 1024


def rules(folder: Path) -> Iterator[Case]:
    """Yield checks of a snapshot by rule files; a third of the rules each passes, warns, fails."""
    snapshot = ROOT / "tests/cases/linux-healthy/facts.json"
    for count in (10, 100, 1_000, 10_000):
        file = folder / f"{count}.yaml"
        file.write_bytes(rule_file(count))
        yield count, [PREFLIGHT, "check", "-f", "json", "-r", str(file), "--facts", str(snapshot)]


def services(folder: Path) -> Iterator[Case]:
    """Yield checks of compose files, each service with a limit, a port and a variable."""
    for count in (1, 10, 100, 500):
        file = folder / f"{count}.yaml"
        each = {
            f"api-{n}": {
                "image": "busybox",
                "ports": [f"{20_000 + n}:80"],
                "environment": {"PORT": str(n)},
                "deploy": {"resources": {"limits": {"memory": "64M", "cpus": "0.1"}}},
            }
            for n in range(count)
        }
        file.write_text(json.dumps({"services": each}))
        yield count, [PREFLIGHT, "check", "-f", "json", "--compose-file", str(file), *NO_ENGINE]


def containers(folder: Path) -> Iterator[Case]:
    """Yield checks of a project with so many containers that were created but not started."""
    yield from checks_of_project(folder, (1, 10, 100, 1_000), ["create"], "true")


def running(folder: Path) -> Iterator[Case]:
    """Yield checks of a project with so many running containers."""
    yield from checks_of_project(folder, (1, 10, 100), ["run", "-d"], "sleep", "3600")


def checks_of_project(
    folder: Path, counts: tuple[int, ...], docker_command: list[str], *command: str
) -> Iterator[Case]:
    """Yield checks of a project on a real engine with so many containers of one service."""
    file = folder / "compose.yaml"
    file.write_text(f"name: pf-scale\nservices: {{api: {{image: {IMAGE}, network_mode: none}}}}\n")
    check = [PREFLIGHT, "check", "-f", "json", "--compose-file", str(file), "--timeout", "60"]
    with own_engine() as engine, ThreadPoolExecutor(4) as pool:
        existing = 0
        for count in counts:
            for _ in pool.map(
                lambda number: engine.docker(
                    *docker_command, *container_options(number), IMAGE, *command
                ),
                range(existing, count),
            ):
                existing += 1
            yield count, [*check, "--docker-host", engine.url]


@contextmanager
def own_engine() -> Iterator[Engine]:
    """A dockerd with the test image; it and its containers are removed in the end."""
    engine, process = start_dockerd()
    try:
        make_image(engine)
        yield engine
        containers = engine.docker("ps", "-aq").split()
        for start in range(0, len(containers), 100):
            engine.docker("rm", "-f", *containers[start : start + 100])
    finally:
        stop(process, engine.folder)


def container_options(number: int) -> list[str]:
    """Return the options of `docker create` for a container of the project."""
    labels = {"project": "pf-scale", "service": "api", "oneoff": "False",
              "container-number": str(number + 1)}  # fmt: skip
    label_options = [f"--label=com.docker.compose.{key}={value}" for key, value in labels.items()]
    return ["--name", f"pf-scale-api-{number + 1}", "--network=none", *label_options]


def logs(folder: Path) -> Iterator[Case]:
    """Yield searches of logs of so many MiB, with a known error every 100,000 lines."""
    whole = folder / "whole.log"
    make(whole, 4096 << 20, EVERY)
    for count in (1, 64, 1024, 4096):
        part = folder / "part.log"
        if count < 4096:
            with whole.open("rb") as source, part.open("wb") as target:
                for _ in range(count):
                    target.write(source.read(1 << 20))
        yield count, [PREFLIGHT, "diagnose", str(part if count < 4096 else whole)]


def snapshots(folder: Path) -> Iterator[Case]:
    """Yield checks of folders of saved snapshots."""
    for count in (1, 10, 100, 1_000, 10_000):
        fill(folder, count)
        yield count, [PREFLIGHT, "check", "--facts", str(folder), "-f", "text"]


INPUTS: dict[str, tuple[str, Callable[[Path], Iterator[Case]]]] = {
    "rules": ("rules", rules),
    "services": ("services of a compose file", services),
    "containers": ("containers of the project", containers),
    "running": ("containers that run", running),
    "logs": ("MiB of a log", logs),
    "snapshots": ("snapshots", snapshots),
}


def measure(cases: Iterator[Case]) -> Iterator[tuple[int, float, float]]:
    """Yield number, seconds and MiB of each case."""
    for count, command in cases:
        runs = [run(command) for _ in range(ROUNDS)]
        yield count, statistics.median(s for s, _ in runs), max(mib for _, mib in runs)


def get_growth(rows: list[tuple[int, float, float]]) -> float:
    """Return the exponent of time between the last two sizes, less the time of the smallest."""
    (_, base, _), (smaller, before, _), (larger, after, _) = rows[0], *rows[-2:]
    return math.log((after - base) / (before - base)) / math.log(larger / smaller)


def main() -> None:
    """Print the table."""
    chosen = sys.argv[1:] or list(INPUTS)
    print("| input | number | s | MiB | growth |\n|---|---:|---:|---:|---:|")
    for name in chosen:
        title, cases = INPUTS[name]
        folder = Path(tempfile.mkdtemp(prefix="preflight-scale-"))
        try:
            rows = list(measure(cases(folder)))
        finally:
            shutil.rmtree(folder)
        for count, seconds, memory in rows:
            growth = f"{get_growth(rows):.2f}" if count == rows[-1][0] else ""
            print(f"| {title} | {count:,} | {seconds:.2f} | {memory:.0f} | {growth} |", flush=True)


if __name__ == "__main__":
    main()
