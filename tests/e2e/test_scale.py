"""How much time and memory a snapshot or a rule file can make the program take."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from preflight.model.facts import Facts
from preflight.render import FORMATS
from preflight.snapshot.facts_file import format_snapshot

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what ru_maxrss counts differs")
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(done.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
print(done.stderr)
"""
Cost = tuple[int, float, int, str]  # exit code, seconds of CPU, bytes, standard error


def measure(folder: Path, *arguments: str) -> Cost:
    """Run the program; returns what all its processes took."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, "-m", "preflight", *arguments],
        capture_output=True, text=True, cwd=folder, check=True,
    )  # fmt: skip
    figures, _, errors = done.stdout.partition("\n")
    code, seconds, size = figures.split()
    return int(code), float(seconds), int(size), errors.strip()


@pytest.fixture
def cost(tmp_path: Path) -> Callable[..., Cost]:
    """Check a snapshot of so many services that have no limit; returns what that costs."""

    def check(services: int, *options: str) -> Cost:
        file = tmp_path / "facts.json"
        values = {"compose": {"services": {f"{number:x}": {} for number in range(services)}}}
        file.write_text(format_snapshot(Facts(values, {"compose.services": "x"})))
        return measure(tmp_path, "check", "--facts", str(file), *options)

    return check


@pytest.mark.parametrize(
    ("services", "options", "rule"),
    [
        (600_000, (), "ollama-memory-limit"),
        (150_000, ("--only", "service-memory-limit"), "service-memory-limit"),
    ],
)
def test_too_many_services_are_refused_in_a_line(
    cost: Callable[..., Cost], services: int, options: tuple[str, ...], rule: str
) -> None:
    code, seconds, size, errors = cost(services, *options)
    assert code == 2
    assert errors == (
        f"preflight: rule {rule} has too much to evaluate ({services:,} items): "
        "the limit is 100,000 results and 600,000,000 steps"
    )
    assert seconds < 3
    assert size < 300 * 2**20


@pytest.mark.nightly
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_10_000_services_take_at_most_3_seconds_and_200_mib(
    cost: Callable[..., Cost], name: str
) -> None:
    code, seconds, size, _ = cost(10_000, "-f", name)
    assert code == 3
    assert seconds < 3
    assert size < 200 * 2**20


@pytest.mark.nightly
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_format_is_linear_in_the_results(cost: Callable[..., Cost], name: str) -> None:
    def fastest(services: int) -> float:
        return min(cost(services, "-f", name)[1] for _ in range(2))

    start, half, whole = fastest(0), fastest(10_000), fastest(20_000)
    assert whole - start < 2.6 * (half - start)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "rule",
    [
        f"title: {'x' * 3_900_000}",
        "title: x, tags: [" + ",".join(f"t{number}" for number in range(9_000)) + "]",
        "title: x, recommend: {one_of: ["
        + ",".join(f"t{number}" for number in range(9_000))
        + "]}",
    ],
    ids=["title", "tags", "one_of"],
)
def test_a_large_rule_is_refused_for_many_services(
    cost: Callable[..., Cost], rule: str, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    require = "" if "recommend" in rule else ", require: {equals: x}"
    head = "id: a, for_each: compose.services, fact: image"
    file.write_text(f"version: 1\nrules: [{{{head}, {rule}{require}}}]\n")
    code, seconds, _, errors = cost(10_000, "-r", str(file))
    assert (code, errors.count("\n")) == (2, 0)
    assert "rule a has too much to evaluate (10,000 items)" in errors
    assert seconds < 5


@pytest.mark.nightly
def test_a_compose_file_takes_time_in_line_with_its_services(tmp_path: Path) -> None:
    def fastest(count: int) -> float:
        service = {"image": "x", "volumes": ["./x:/x"], "platform": "linux/amd64"}
        services = {
            f"s{number}": {**service, "profiles": ["other"] if number % 2 else []}
            for number in range(count)
        }
        (tmp_path / "compose.yaml").write_text(json.dumps({"name": "shop", "services": services}))
        options = ("--docker-host", "unix:///nonexistent", "--timeout", "120")
        return min(measure(tmp_path, "check", *options)[1] for _ in range(2))

    start, half, whole = fastest(1), fastest(1_000), fastest(2_000)
    assert whole - start < 2.6 * (half - start)
