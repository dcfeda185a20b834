"""What starts before the command line is imported."""

from __future__ import annotations

import pytest

from preflight import cli


@pytest.mark.parametrize(
    ("line", "variable", "expected"),
    [
        ("check", "", True),
        ("--debug check -q", "", True),
        ("explain host-memory", "", True),
        ("diagnose --container=api", "", True),
        ("diagnose api.log", "", False),
        ("rules list", "", False),
        ("check -h", "", False),
        ("check --facts f.json", "", False),
        ("check --facts=f.json", "", False),
        ("check", "f.json", False),
    ],
)
def test_a_worker_starts_only_for_what_measures(
    monkeypatch: pytest.MonkeyPatch, line: str, variable: str, expected: bool
) -> None:
    """A snapshot was judged beside a worker that nobody needed, if it was named after a `=`."""
    monkeypatch.setenv("PREFLIGHT_FACTS", variable)
    monkeypatch.setattr("sys.argv", ["preflight", *line.split()])
    started: list[object] = []
    monkeypatch.setattr(
        "preflight.facts.collect.worker_process.start_worker", lambda: started.append(1)
    )
    monkeypatch.setattr("preflight.cli.app.run_program", lambda worker: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("gc.disable", lambda: None)
    cli.main()
    assert bool(started) is expected
