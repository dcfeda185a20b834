"""How time and memory grow with what is judged: `python tests/bench/bench_scale.py [WHAT...]`.

WHAT is any of rules, services, containers, running, logs, snapshots. Whole processes, start
included: the median time of three runs, and the most memory that the largest process held. Growth
is the power of the number by which the time beyond that of the smallest rises, between the last two
sizes: 1 is linear. `containers` and `running` start a dockerd of their own, as the tests do, which
takes root; logs take 8 GiB of disk.
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
# a small process of its own: a child's peak begins with what its parent holds
MEASURE = """
import os, resource, sys, time
start = time.perf_counter()
code = os.spawnv(os.P_WAIT, sys.argv[1], sys.argv[1:])
took = time.perf_counter() - start
print(code, took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""

Command = list[str]
Case = tuple[int, Command]


def run(command: Command) -> tuple[float, float]:
    """Return the seconds and the MiB of one run."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", MEASURE, *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    code, seconds, kibibytes = done.stderr.splitlines()[-1].split()
    if code not in ("0", "1", "3"):
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return float(seconds), int(kibibytes) / 1024


def rules(folder: Path) -> Iterator[Case]:
    """Yield checks of one snapshot by rule files, of which a third each passes, warns, fails."""
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
    """Yield checks of a project with so many containers of one service, which never ran."""
    yield from project_of(folder, (1, 10, 100, 1_000), ["create"], "true")


def running(folder: Path) -> Iterator[Case]:
    """Yield checks of a project with so many containers of one service, which run."""
    yield from project_of(folder, (1, 10, 100), ["run", "-d"], "sleep", "3600")


def project_of(
    folder: Path, counts: tuple[int, ...], make: list[str], *command: str
) -> Iterator[Case]:
    """Yield checks of a project on a real engine, more and more containers made that way."""
    file = folder / "compose.yaml"
    file.write_text(f"name: pf-scale\nservices: {{api: {{image: {IMAGE}, network_mode: none}}}}\n")
    check = [PREFLIGHT, "check", "-f", "json", "--compose-file", str(file), "--timeout", "60"]
    with own_engine() as engine, ThreadPoolExecutor(4) as pool:
        made = 0
        for count in counts:
            for _ in pool.map(
                lambda number: engine.docker(*make, *labelled(number), IMAGE, *command),
                range(made, count),
            ):
                made += 1
            yield count, [*check, "--docker-host", engine.url]


@contextmanager
def own_engine() -> Iterator[Engine]:
    """A dockerd with an image, which ends with all that was made there."""
    engine, process = start_dockerd()
    try:
        make_image(engine)
        yield engine
        made = engine.docker("ps", "-aq").split()
        for start in range(0, len(made), 100):
            engine.docker("rm", "-f", *made[start : start + 100])
    finally:
        stop(process, engine.folder)


def labelled(number: int) -> list[str]:
    """Return the options that make a container one of the project's."""
    labels = {"project": "pf-scale", "service": "api", "oneoff": "False",
              "container-number": str(number + 1)}  # fmt: skip
    told = [f"--label=com.docker.compose.{key}={value}" for key, value in labels.items()]
    return ["--name", f"pf-scale-api-{number + 1}", "--network=none", *told]


def logs(folder: Path) -> Iterator[Case]:
    """Yield searches of logs of so many MiB, a known error in 100,000 lines."""
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


WHAT: dict[str, tuple[str, Callable[[Path], Iterator[Case]]]] = {
    "rules": ("rules", rules),
    "services": ("services of a compose file", services),
    "containers": ("containers of the project", containers),
    "running": ("containers that run", running),
    "logs": ("MiB of a log", logs),
    "snapshots": ("snapshots", snapshots),
}


def measured(cases: Iterator[Case]) -> Iterator[tuple[int, float, float]]:
    """Yield number, seconds and MiB of each case."""
    for count, command in cases:
        runs = [run(command) for _ in range(ROUNDS)]
        yield count, statistics.median(one for one, _ in runs), max(one for _, one in runs)


def growth(found: list[tuple[int, float, float]]) -> float:
    """Return the exponent of time between the last two sizes, what the smallest takes left off."""
    (_, least, _), (few, less, _), (many, more, _) = found[0], *found[-2:]
    return math.log((more - least) / (less - least)) / math.log(many / few)


def main() -> None:
    """Print the table."""
    chosen = sys.argv[1:] or list(WHAT)
    print("| what | number | s | MiB | growth |\n|---|---:|---:|---:|---:|")
    for name in chosen:
        title, cases = WHAT[name]
        folder = Path(tempfile.mkdtemp(prefix="preflight-scale-"))
        try:
            found = list(measured(cases(folder)))
        finally:
            shutil.rmtree(folder)
        for count, seconds, memory in found:
            law = f"{growth(found):.2f}" if count == found[-1][0] else ""
            print(f"| {title} | {count:,} | {seconds:.2f} | {memory:.0f} | {law} |", flush=True)


if __name__ == "__main__":
    main()
