"""How much of the logs of containers is read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from preflight.facts.collect.measurement import ContainerLogRequest
from preflight.facts.stack import config_and_logs


@pytest.mark.parametrize(("count", "most"), [(1, 2_097_152), (2, 2_097_152), (40, 104_857)])
def test_all_logs_together_are_bounded(count: int, most: int) -> None:
    asked: list[int] = []

    def request_bytes(_path: str, _timeout: float, max_bytes: int) -> tuple[int, bytes]:
        asked.append(max_bytes)
        return 200, b"a line\n"

    api = SimpleNamespace(timeout=1.0, address="x", request_bytes=request_bytes)
    context: Any = SimpleNamespace(engine=lambda: SimpleNamespace(api=api))
    request = ContainerLogRequest([f"c{number}" for number in range(count)], of_project=False)
    measured = list(config_and_logs.measure_config_and_logs(context, request))
    assert asked == [most] * count
    assert [fact.value for fact in measured[:-1]] == ["a line\n"] * count
