"""Loading and judging of generated rule files: `python tests/bench/bench_rules.py`.

Prints microseconds a rule for files of 10 to 10,000 rules, medians of several runs, with the
cyclic collector off as the program runs. Flat columns are what linear looks like.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from collections.abc import Iterator

from preflight import check as pipeline
from preflight.evaluate.judge import RuleSelection, judge_rules
from preflight.model.facts import FactCatalogue, Facts
from preflight.rules.load import load_ruleset

SIZES = (10, 100, 1_000, 10_000)
ROUNDS = 7

RULE = """\
  - id: rule-{n}
    title: Memory for part {n}
    why: The model, the API and the operating system share it.
    section: Minimum System Requirements, part {n}
    tags: [docker, memory, part-{part}]
    {condition}
    fact: docker.memory.total
    require: {{at_least: {gigabytes}GB}}
    recommend: {{at_least: "${{{advised}}}"}}
    fixes:
      - when: {{docker.engine: docker}}
        text: Take a machine with {{expected}} or more (now {{actual}}).
        command: free -h
"""
HEAD = """\
version: 1
name: generated
vars: {low: 4GB, high: 12GB}
rules:
  - id: docker-reachable
    title: Docker is reachable
    fact: docker.reachable
    require: {equals: true}
"""
FACTS = Facts(
    {
        "host": {"memory": {"total": 25_276_518_400}},
        "docker": {
            "reachable": True,
            "local": True,
            "engine": "docker",
            "memory": {"total": 9_600_000_000},
        },
    },
    {"docker.memory.total": "GET /info MemTotal"},
)


def rule_file(size: int) -> bytes:
    """Return a rule file whose rules pass, warn and fail in turn, ten keys each."""

    def rules() -> Iterator[str]:
        for n in range(size - 1):  # one is in the head
            condition = ("when: {docker.local: true}", "needs: [docker-reachable]")[n % 2]
            figures = {"gigabytes": n * 7 % 12, "advised": ("low", "high")[n % 2]}
            yield RULE.format(n=n, part=n % 40, condition=condition, **figures)

    return (HEAD + "".join(rules())).encode()


def seconds(data: bytes, catalogue: FactCatalogue) -> tuple[float, float]:
    """Return how long loading and judging of one file take."""
    start = time.perf_counter()
    rules = load_ruleset("rules.yaml", lambda _: data, catalogue)
    loaded = time.perf_counter()
    report = judge_rules(rules, FACTS, catalogue, RuleSelection())
    done = time.perf_counter()
    if not all(report.counts_by_verdict[verdict] for verdict in ("pass", "warn", "fail")):
        sys.exit(f"the generated rules are too much alike: {report.counts_by_verdict}")
    return loaded - start, done - loaded


def main() -> None:
    """Run every size and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    catalogue = pipeline.build_catalogue()
    gc.disable()
    print(f"medians of {rounds}, Python {sys.version.split()[0]}, {os.cpu_count()} CPUs\n")
    print("| rules | load µs/rule | judge µs/rule | together µs/rule | together ms |")
    print("|---:|---:|---:|---:|---:|")
    for size in SIZES:
        data = rule_file(size)
        seconds(data, catalogue)
        runs = []
        for _ in range(rounds):
            runs.append(seconds(data, catalogue))
            gc.collect()
        load_, judge = (statistics.median(run[part] for run in runs) * 1e6 for part in (0, 1))
        both = statistics.median(sum(run) for run in runs) * 1e6
        row = (size, load_ / size, judge / size, both / size, both / 1000)
        print("| {:,} | {:.0f} | {:.0f} | {:.0f} | {:.1f} |".format(*row))


if __name__ == "__main__":
    main()
