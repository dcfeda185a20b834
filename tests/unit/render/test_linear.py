"""Every format is linear in the results: eight times as many take about eight times as long."""

from __future__ import annotations

import time

import pytest

from preflight.model.fleet import HostReport
from preflight.model.report import Report, ServiceMemory
from preflight.render import FORMATS, RenderOptions, load_renderer
from reports import render_hosts

FEW, MANY = 300, 2400
VERBOSE = RenderOptions(verbose=True)


def enlarged(report: Report, count: int, *, distinct: bool) -> Report:
    """Return a report of so many results and services: all of them different, or all the same."""
    results = []
    for number in range(count):
        result = report.results[number % len(report.results)]
        if distinct:
            name = f"{result.id}-{number}"
            result = result._replace(
                id=name, item=name, section=name, reason_or_source=name, tags=(name,), file=name
            )
        results.append(result)
    services = tuple(ServiceMemory(f"s{number}", 1, 1e8, 2e8) for number in range(count))
    memory = report.memory._replace(services=services)
    return report._replace(results=tuple(results), memory=memory)


def seconds(name: str, report: Report) -> float:
    started = time.process_time()
    load_renderer(name)(report, VERBOSE)
    return time.process_time() - started


@pytest.mark.parametrize("distinct", [True, False], ids=["all different", "all the same"])
@pytest.mark.parametrize("name", FORMATS)
def test_time_grows_with_the_results(name: str, distinct: bool, report: Report) -> None:
    few, many = (enlarged(report, count, distinct=distinct) for count in (FEW, MANY))
    seconds(name, few)  # imports and compiles
    ratios = (seconds(name, many) / seconds(name, few) for _ in range(3))
    assert any(ratio < 2.5 * MANY / FEW for ratio in ratios)  # the square would be 64


@pytest.mark.parametrize("name", FORMATS)
def test_time_grows_with_the_hosts(name: str, report: Report) -> None:
    def of_hosts(count: int) -> float:
        hosts = [HostReport(f"host-{number}", report) for number in range(count)]
        started = time.process_time()
        render_hosts(name, hosts, VERBOSE)
        return time.process_time() - started

    of_hosts(30)
    ratios = (of_hosts(240) / of_hosts(30) for _ in range(3))
    assert any(ratio < 20 for ratio in ratios)
