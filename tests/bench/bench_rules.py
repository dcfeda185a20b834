"""Microseconds a rule, loading and judging together: `python tests/bench/bench_rules.py`."""

from __future__ import annotations

import gc
import statistics
import sys
import time

from preflight import pipeline
from preflight.evaluate.judge import evaluate
from preflight.model.facts import Facts

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
RULE = """
  - id: rule-{number}
    title: Total RAM number {number}
    why: The model, the API and the system share it.
    section: Minimum System Requirements
    tags: [host, memory]
    fact: host.memory.total
    require: {{at_least: {bound}}}
    recommend: {{at_least: 12GB}}
    fixes:
      - text: "Add memory: {{missing}} short of {{expected}}."
"""
FACTS = Facts({"host": {"memory": {"total": 8 * 10**9}}}, {"host.memory.total": "a figure"})


def seconds(count: int) -> float:
    """Return how long `count` rules take, half of which fail."""
    rules = "".join(
        RULE.format(number=number, bound=("4GB", "10GB")[number % 2]) for number in range(count)
    )
    data = f"version: 1\nname: bench\nrules:{rules}".encode()
    start = time.perf_counter()
    report = evaluate(pipeline.load("bench.yaml", lambda _: data), FACTS, pipeline.catalogue())
    assert len(report.results) == count
    return time.perf_counter() - start


def main() -> None:
    """Print a table; the collector is off, as it is in the program."""
    gc.disable()
    seconds(1)  # imports
    print(f"medians of {ROUNDS}, Python {sys.version.split()[0]}\n")
    print("| rules | ms | µs a rule |")
    print("|---:|---:|---:|")
    for count in (10, 100, 1_000, 10_000):
        times = []
        for _ in range(ROUNDS):
            times.append(seconds(count))
            gc.collect()
        median = statistics.median(times)
        print(f"| {count:,} | {median * 1e3:.1f} | {median / count * 1e6:.0f} |")


if __name__ == "__main__":
    main()
