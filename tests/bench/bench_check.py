"""Time and memory of whole processes, side by side: `python tests/bench/bench_check.py [ROUNDS]`.

Needs a running engine (DOCKER_HOST or the default socket), the docker CLI and taskset. Prints a
table of medians with all CPUs and one with a single CPU, as many CI jobs have. The ratios are to a
baseline, a script that reads the same figures the obvious way, and are taken round by round, so
that what else runs on the machine matters less; CPU seconds are those of all child processes.
Modules are compiled before, as pip does it for users. The baseline needs Typer, which preflight
doesn't: pip install -e .[dev].

With goss on the path, or named by $GOSS, `goss validate` with the same content is beside it:

    mkdir goss && cd goss && go mod init bench
    printf 'package main\\nimport _ "github.com/goss-org/goss/cmd/goss"\\n' >goss.go
    go get github.com/goss-org/goss@v0.4.9 && go mod tidy
    go build -o ../goss.bin github.com/goss-org/goss/cmd/goss

So is troubleshoot's preflight, if $TROUBLESHOOT names it. Its go.mod has `replace` lines, so it is
built in a copy of its own module:

    cp -r "$(go mod download -json github.com/replicatedhq/troubleshoot@v0.133.0 |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')" troubleshoot
    chmod -R u+w troubleshoot && cd troubleshoot
    go build -tags "netgo containers_image_ostree_stub exclude_graphdriver_devicemapper \
        exclude_graphdriver_btrfs containers_image_openpgp" -ldflags "-s -w" \
        -o ../troubleshoot.bin ./cmd/preflight
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
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
COMPOSE_FILE = """
services:
  api: {image: "alpine:3.20", mem_limit: 512m, ports: ["18080:80"], depends_on: [db]}
  db: {image: "postgres:16", environment: {POSTGRES_PASSWORD: x}, volumes: ["data:/data"]}
volumes: {data: {}}
"""
GOSS = os.environ.get("GOSS") or shutil.which("goss")
GOSS_FILE = """
command:
  memory: {exec: "awk '/MemTotal/ {exit $2 < 8000000}' /proc/meminfo", exit-status: 0}
  cpus: {exec: "test $(nproc) -ge 2", exit-status: 0}
  disk: {exec: "test $(df --output=avail -k . | tail -1) -ge 10000000", exit-status: 0}
  docker: {exec: "docker info", exit-status: 0, stdout: [/Total Memory/, /CPUs/]}
"""
TROUBLESHOOT = os.environ.get("TROUBLESHOOT")
TROUBLESHOOT_FILE = """
apiVersion: troubleshoot.sh/v1beta2
kind: HostPreflight
metadata: {name: stack}
spec:
  collectors:
    - cpu: {}
    - memory: {}
    - diskUsage: {collectorName: data, path: /}
    - run: {collectorName: docker, command: docker, args: [info]}
  analyzers:
    - cpu:
        outcomes:
          - fail: {when: "count < 2", message: too few cores}
          - pass: {message: enough cores}
    - memory:
        outcomes:
          - fail: {when: "< 8G", message: too little memory}
          - pass: {message: enough memory}
    - diskUsage:
        collectorName: data
        outcomes:
          - fail: {when: "available < 10G", message: too little free space}
          - pass: {message: enough free space}
    - textAnalyze:
        checkName: Docker
        fileName: host-collectors/run-host/docker.txt
        regex: 'Total Memory: \\d'
        outcomes:
          - pass: {when: "true", message: Docker is reachable}
          - fail: {when: "false", message: Docker is not reachable}
"""
_TROUBLESHOOT_OPTIONS = ["--interactive=false", "--auto-update=false", "--format=human"]
_COMPLETE = "preflight check --only docker-r"


class Command(NamedTuple):
    """A command with its folder, and what its environment has beside that of the benchmark."""

    words: list[str]
    folder: Path
    environment: Mapping[str, str] = {}


class Run(NamedTuple):
    """What one whole process took, in seconds."""

    wall: float
    cpu: float


def commands(top: Path) -> dict[str, Command]:
    """Return what is run, by the name it has in the table."""
    script, empty, project = top / "baseline.py", top / "empty", top / "project"
    empty.mkdir()
    project.mkdir()
    script.write_text(BASELINE, encoding="utf-8")
    (project / "compose.yaml").write_text(COMPOSE_FILE, encoding="utf-8")
    (empty / "goss.yaml").write_text(GOSS_FILE, encoding="utf-8")
    (empty / "troubleshoot.yaml").write_text(TROUBLESHOOT_FILE, encoding="utf-8")
    preflight = str(Path(sys.executable).with_name("preflight"))
    facts = str(top / "facts.json")
    subprocess.run([preflight, "facts", "-o", facts], cwd=empty, check=True, env=environment())
    completion = {
        "_PREFLIGHT_COMPLETE": "complete_bash",
        "COMP_WORDS": _COMPLETE,
        "COMP_CWORD": str(_COMPLETE.count(" ")),
    }
    words_by_name = {
        BASELINE_NAME: [sys.executable, str(script)],
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -S -c pass": [sys.executable, "-S", "-c", "pass"],
        "preflight --version": [preflight, "--version"],
        "preflight --help": [preflight, "--help"],
        "preflight check": [preflight, "check"],
        "preflight check -q": [preflight, "check", "-q"],
        "preflight check -f json": [preflight, "check", "-f", "json"],
        "preflight check --facts": [preflight, "check", "--facts", facts],
        "the document's commands": ["sh", "-c", BY_HAND],
        **({"goss validate": [GOSS, "validate"]} if GOSS else {}),
        **(
            {"troubleshoot": [TROUBLESHOOT, *_TROUBLESHOOT_OPTIONS, "troubleshoot.yaml"]}
            if TROUBLESHOOT
            else {}
        ),
    }
    return {
        **{name: Command(words, empty) for name, words in words_by_name.items()},
        "completion of a rule": Command([preflight], empty, completion),
        # our own reader stands in, as there is no Compose
        "preflight check, compose file": Command(
            [preflight, "check"], project, {"PATH": "/nonexistent"}
        ),
    }


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a command, in which Python saves what it compiles."""
    names = os.environ.keys() - {"PYTHONDONTWRITEBYTECODE"}
    return {**{name: os.environ[name] for name in names}, **(more or {})}


def run(command: Command) -> Run:
    """Run one whole process; whatever the verdict on this machine and engine, it was judged."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        command.words, cwd=command.folder, env=environment(command.environment),
        capture_output=True, check=False,
    )  # fmt: skip
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    verdicts = (
        {0, 1, 3, 4} if {"check", "validate", "troubleshoot.yaml"} & set(command.words) else {0}
    )
    if done.returncode not in verdicts:
        sys.exit(f"{' '.join(command.words)} ended with {done.returncode}: {done.stderr.decode()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall, cpu)


def measure(chosen: Mapping[str, Command]) -> dict[str, list[Run]]:
    """Run everything round by round, once before that so that all is in the page cache."""
    runs: dict[str, list[Run]] = {name: [] for name in chosen}
    for number in range(ROUNDS + 1):
        for name, command in chosen.items():
            result = run(command)
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
        wall = statistics.median(run.wall for run in results) * 1000
        cpu = statistics.median(run.cpu for run in results) * 1000
        wall_ratio = statistics.median(run.wall / base.wall for run, base in pairs)
        cpu_ratio = statistics.median(run.cpu / base.cpu for run, base in pairs)
        print(f"| `{name}` | {wall:.0f} | {cpu:.0f} | {wall_ratio:.2f} | {cpu_ratio:.2f} |")


def peak_memory(command: Command) -> tuple[float, float]:
    """Return MiB at the peak: the largest process (RSS), and all together (PSS), by sampling."""
    process = subprocess.Popen(
        command.words, cwd=command.folder, env=environment(), stdout=subprocess.DEVNULL
    )
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
        chosen = commands(Path(name))
        print(f"Python {sys.version.split()[0]}")
        print_table(f"{os.cpu_count()} CPUs", measure(chosen))
        pinned = {
            name: command._replace(words=[*ONE_CPU, *command.words])
            for name, command in chosen.items()
            if not command.environment
        }
        print_table("1 CPU", measure(pinned))
        peaks = [peak_memory(chosen["preflight check"]) for _ in range(5)]
        largest = statistics.median(peak[0] for peak in peaks)
        together = statistics.median(peak[1] for peak in peaks)
        print(f"\npeak memory: {largest:.0f} MiB the largest process, {together:.0f} MiB together")


if __name__ == "__main__":
    main()
