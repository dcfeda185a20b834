"""`preflight diagnose` on a log of 1 GiB beside grep and ripgrep: `python tests/bench/bench_diagnose.py [MiB]`.

The log is made: what Ollama, uvicorn, dockerd and an API write, and one known error in 100,000
lines. Both look for the same patterns, joined, in a UTF-8 locale, and ignore case. Wall
time and processor time are of the same run; memory is the most that all processes hold at once.
"""
# ruff: noqa: E501, ISC004 - a line of a log stands on one line

from __future__ import annotations

import gzip
import os
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import support_path  # noqa: F401 - first

from paths import ROOT
from preflight import check as pipeline
from preflight.cli.streams import read_rule_file
from preflight.model.rules import DEFAULT_RULE_SET

ROUNDS = 3
EVERY = 100_000
RULES = pipeline.load_ruleset(DEFAULT_RULE_SET, read_rule_file, known_errors=True)
ERRORS = [
    b'time=2024-11-02T10:11:12.123Z level=WARN source=server.go:133 msg="model request too large for'
    b' system" requested="5.7 GiB" available=3006477107 total="7.6 GiB" free="2.8 GiB" swap="0 B"',
    b"Error: model requires more system memory (5.7 GiB) than is available (2.8 GiB)",
    b"[2024-11-02 10:11:12 +0000] [1] [ERROR] Worker (pid:57) was sent SIGKILL! Perhaps out of"
    b" memory?",
    b"Nov  2 10:11:12 vm kernel: [12345.678901] Memory cgroup out of memory: Killed process 4242"
    b" (ollama) total-vm:12345678kB, anon-rss:8388608kB, file-rss:0kB, shmem-rss:0kB, UID:0",
    b"write /root/.ollama/models/blobs/sha256-abc: no space left on device",
]
PATHS = [b"/api/chat", b"/api/generate", b"/api/tags", b"/api/ps", b"/v1/chat/completions"]


class Run(NamedTuple):
    """One process and its children: seconds of the wall and of processors, bytes at most."""

    wall: float
    cpu: float
    memory: int


def clean(number: int, chance: random.Random) -> bytes:
    """Return a line that tells of no error."""
    clock = b"%02d:%02d:%02d" % (number // 3600 % 24, number // 60 % 60, number % 60)
    path, kind = chance.choice(PATHS), number % 10
    if kind < 3:
        took = chance.random() * 999
        return b'[GIN] 2024/11/02 - %b | 200 | %11.6fms |      172.18.0.3 | POST     "%b"' % (
            clock, took, path)  # fmt: skip
    if kind < 6:
        port = chance.randrange(65536)
        return b'INFO:     172.18.0.3:%d - "POST %b?q=%d HTTP/1.1" 200 OK' % (port, path, number)
    if kind == 6:
        return (
            b'time=2024-11-02T%bZ level=INFO source=sched.go:710 msg="new model will fit in '
            b'available VRAM" model=/root/.ollama/models/blobs/sha256-%064x parallel=1 '
            b'available=%d required="5.%d GiB"'
            % (clock, chance.getrandbits(256), chance.getrandbits(33), number % 10)
        )
    if kind == 7:
        return (
            b'time=2024-11-02T%bZ level=INFO source=memory.go:356 msg="offload to cpu" '
            b'layers.model=33 memory.available="[%d.1 GiB]" memory.required.full="5.7 GiB"'
            % (clock, number % 16)
        )
    if kind == 8:
        return b'{"ts":"2024-11-02T%bZ","level":"info","msg":"served","path":"%b","ms":%d}' % (
            clock, path, chance.randrange(9000))  # fmt: skip
    return (
        b'Nov  2 %b vm dockerd[812]: level=info msg="ignoring event" container=%064x '
        b'topic=/tasks/delete type="*events.TaskDelete"' % (clock, chance.getrandbits(256))
    )


def make(path: Path, size: int, every: int) -> int:
    """Write a log of a size; returns how many lines tell of an error."""
    chance = random.Random(5)
    pool = [clean(number, chance) for number in range(200_000)]
    written = number = errors = 0
    with path.open("wb") as file:
        while written < size:
            rows = []
            for _ in range(50_000):
                number += 1
                bad = number % every == 0
                errors += bad
                rows.append(ERRORS[errors % len(ERRORS)] if bad else pool[number * 7919 % 200_000])
            data = b"\n".join(rows) + b"\n"
            written += file.write(data)
    return errors


def ere(pattern: str) -> str:
    """Write a pattern in grep's grammar."""
    plain = re.sub(r"\(\?P<[a-z_]+>|\(\?:", "(", pattern)
    plain = re.sub(r"(?<!\\)\[([^\]]*)\\d", r"[\g<1>0-9", plain)
    return plain.replace(r"\d", "[0-9]")


def run(command: list[str], locale: str = "C.UTF-8", stdin: Path | None = None) -> Run:
    """Run a command to its end."""
    most = 0
    with open(stdin or os.devnull, "rb") as given, tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        process = psutil.Popen(
            command, stdin=given, stdout=out, env={**os.environ, "LC_ALL": locale}
        )
        done = threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.wait(0.05):
                most = max(most, memory_of(process))

        watcher = threading.Thread(target=watch)
        watcher.start()
        before = os.times()
        process.wait()
        wall, after = time.perf_counter() - start, os.times()
        done.set()
        watcher.join()
    cpu = after[2] + after[3] - before[2] - before[3]
    if process.returncode not in (0, 1):
        sys.exit(f"{command[0]} ended with {process.returncode}")
    return Run(wall, cpu, most)


def memory_of(process: psutil.Process) -> int:
    """Return what a process and its children hold; what they share counts once."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_full_info().pss
    except (psutil.Error, AttributeError):
        pass
    return total


def cases(folder: Path, size: int) -> Iterator[tuple[str, list[str], Path | None]]:
    """Yield what is run: its name, the command, its standard input."""
    log, hits, packed, line = (folder / n for n in ("a.log", "hits.txt", "b.log.gz", "line.txt"))
    print(f"{size >> 20} MiB, {make(log, size, EVERY)} known errors", flush=True)
    make(hits, size // 16, 1)
    with log.open("rb") as plain, gzip.open(packed, "wb", 6) as out:
        for _ in range(size // 4 >> 20):
            out.write(plain.read(2**20))
    with line.open("wb") as out:
        for _ in range(500):
            out.write(b"x" * 2**20)
    joined = "|".join(ere(p) for one in RULES.diagnoses for p in one.patterns)
    preflight = [str(Path(sys.executable).with_name("preflight")), "diagnose", "-r",
                 str(ROOT / "rules.yaml")]  # fmt: skip
    yield "grep -ciE", ["grep", "-ciE", joined, str(log)], None
    yield "diagnose", [*preflight, str(log)], None
    yield "diagnose, from standard input", [*preflight, "-"], log
    yield "rg -ci", ["rg", "-ci", joined, str(log)], None
    yield "diagnose, beside rg", [*preflight, str(log)], None
    yield "grep -ciE, a sixteenth, all hits", ["grep", "-ciE", joined, str(hits)], None
    yield "diagnose, a sixteenth, all hits", [*preflight, str(hits)], None
    yield "zcat | grep -ciE, a quarter, .gz", [
        "sh", "-c", 'zcat "$0" | grep -ciE "$1"', str(packed), joined], None  # fmt: skip
    yield "diagnose, a quarter, .gz", [*preflight, str(packed)], None
    yield "diagnose, one line of 500 MiB", [*preflight, str(line)], None


def main() -> None:
    """Make the logs and print the table: medians of rounds, one after the other."""
    size = int(sys.argv[1] if len(sys.argv) > 1 else 1024) * 2**20
    with tempfile.TemporaryDirectory(prefix="pf-") as name:
        table = list(cases(Path(name), size))
        found: dict[str, list[Run]] = {}
        for _ in range(ROUNDS):
            for what, command, stdin in table:
                found.setdefault(what, []).append(run(command, stdin=stdin))
    print(f"{'':34}{'wall':>8}{'of grep':>9}{'CPU':>8}{'of grep':>9}{'memory':>10}")
    base = Run(1, 1, 0)
    for what, runs in found.items():
        wall, cpu, most = (statistics.median(values) for values in zip(*runs, strict=True))
        base = base if "diagnose" in what else Run(wall, cpu, 0)
        print(
            f"{what:34}{wall:7.2f}s{wall / base.wall:9.2f}{cpu:7.2f}s{cpu / base.cpu:9.2f}"
            f"{most / 2**20:6.0f} MiB"
        )


if __name__ == "__main__":
    main()
