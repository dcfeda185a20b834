"""The metrics as others read them: prometheus-client's parser, promtool, a real node_exporter."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from paths import ROOT
from preflight.model.report import VERDICTS, AppliedWaiver, Report, Result
from preflight.render import RenderOptions, load_renderer
from report_readers import program
from reports import GOLDEN

CI_GUIDE = (ROOT / "docs/guides/ci.md").read_text(encoding="utf-8")


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Series:
    """Every series by its name and labels; an empty label is none, as Prometheus has it."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = frozenset((k, v) for k, v in sample.labels.items() if v)
            assert (sample.name, labels) not in found, "a series stands there twice"
            found[sample.name, labels] = sample.value
    return found


def series_of(report: Report) -> Series:
    return read(load_renderer("prometheus")(report, RenderOptions()))


def value(series: Series, name: str, **labels: str) -> float | None:
    """The only series of this name that has these labels among its own; None where none has."""
    found = [v for (n, have), v in series.items() if n == name and have >= labels.items()]
    assert len(found) <= 1
    return found[0] if found else None


def names(series: Series) -> set[str]:
    return {name for name, _ in series}


def missing(reason: str) -> NoReturn:
    """Skip on a laptop; where tests gate, fail."""
    if os.environ.get("CI") or os.environ.get("PREFLIGHT_REQUIRE_ENGINES"):
        pytest.fail(reason)
    pytest.skip(reason)


def changed(report: Report, **fields: Any) -> Report:
    """The report with one result alone, of a rule about RAM, with these fields another."""
    (memory,) = [one for one in report.results if one.id == "host-memory"]
    return report._replace(results=(memory._replace(**fields),))


# --- what the report says ---


def test_every_rule_has_each_verdict_and_one_is_true(report: Report) -> None:
    series = series_of(report)
    for result in report.results:
        labels = {
            "rule": result.id,
            "section": result.section,
            "severity": result.severity,
            **({"item": result.item} if result.item else {}),
        }
        for verdict in VERDICTS:
            found = value(series, "preflight_rule_verdict", verdict=verdict, **labels)
            assert found == (verdict == result.verdict)
    whole = [v for (name, _), v in series.items() if name == "preflight_rule_verdict"]
    assert len(whole) == len(VERDICTS) * len(report.results)


def test_the_whole_check(report: Report) -> None:
    series = series_of(report)
    for verdict in ("fail", "unknown", "warn", "pass"):
        assert value(series, "preflight_verdict", verdict=verdict) == (verdict == "fail")
    for verdict in VERDICTS:
        assert (
            value(series, "preflight_results", verdict=verdict) == report.counts_by_verdict[verdict]
        )
    assert value(series, "preflight_exit_code") == 1
    assert value(series, "preflight_duration_seconds") == 0.12
    assert value(series, "preflight_info", version="1.0.0", rules="golden", engine="docker") == 1
    assert value(series, "preflight_info", sha256=report.rules_sha256, source="rules.yaml") == 1


def test_figures_are_in_base_units(report: Report) -> None:
    series = series_of(report)
    assert value(series, "preflight_rule_value_bytes", rule="host-memory") == 8_323_000_000
    asked = {"rule": "host-memory", "bound": "at_least"}
    assert value(series, "preflight_rule_threshold_bytes", **asked) == 10_000_000_000
    assert value(series, "preflight_rule_value_cores", rule="cpu-limit", item="api") == 4
    asked = {"rule": "cpu-limit", "item": "api", "bound": "at_most"}
    assert value(series, "preflight_rule_threshold_cores", **asked) == 2
    assert value(series, "preflight_rule_value", rule="docker-reachable") == 1
    for result in report.results:
        if result.unit == "bytes":
            found = value(series, "preflight_rule_value_bytes", rule=result.id)
            assert found == result.actual


def test_what_is_not_known_has_no_series(report: Report) -> None:
    series = series_of(report)
    asked = {"rule": "docker-disk", "bound": "at_least"}
    assert value(series, "preflight_rule_threshold_bytes", **asked) == 20_000_000_000
    assert value(series, "preflight_rule_value_bytes", rule="docker-disk") is None
    bare = report._replace(seconds=None, measured_at="", results=(), engine={})
    left = names(series_of(bare))
    assert left == {
        "preflight_info", "preflight_verdict", "preflight_exit_code", "preflight_results",
    }  # fmt: skip


def test_a_metric_without_a_series_is_not_announced(report: Report) -> None:
    families = list(
        text_string_to_metric_families(load_renderer("prometheus")(report, RenderOptions()))
    )
    assert "preflight_rule_value_seconds" not in {family.name for family in families}
    assert all(family.samples for family in families)


def test_there_is_nothing_about_this_process(report: Report) -> None:
    assert all(name.startswith("preflight_") for name in names(series_of(report)))


@pytest.mark.parametrize(
    ("unit", "actual", "name", "wanted"),
    [
        ("bytes", 0, "_bytes", 0),
        ("bytes", "8GB", "_bytes", 8_000_000_000),
        ("bytes", "much", "_bytes", None),
        ("bytes", 10**400, "_bytes", None),
        ("bytes", math.inf, "_bytes", None),
        ("bytes", math.nan, "_bytes", None),
        ("seconds", 0.25, "_seconds", 0.25),
        ("seconds", "1h30m", "_seconds", 5400),
        ("seconds", -1, "_seconds", -1),
        ("cores", 1.5, "_cores", 1.5),
        ("number", 2**53 + 1, "", 2**53),
        ("boolean", False, "", 0),
        ("boolean", "yes", "", 1),
        ("text", "8", "", None),
        ("version", "6.1", "", None),
        ("list", [1, 2], "", None),
        ("map", {"a": 1}, "", None),
    ],
)
def test_a_value_is_a_finite_number_of_its_unit_or_nothing(
    unit: str, actual: Any, name: str, wanted: float | None, report: Report
) -> None:
    series = series_of(changed(report, unit=unit, actual=actual))
    assert value(series, f"preflight_rule_value{name}") == wanted
    values = [name for name in names(series) if name.startswith("preflight_rule_value")]
    assert len(values) == (wanted is not None)


@pytest.mark.parametrize(
    ("expected", "wanted"),
    [
        ({"at_least": 1, "less_than": 9}, {"at_least": 1, "less_than": 9}),
        ({"all_of": [{"at_least": 1}, {"at_most": 5}]}, {"at_least": 1, "at_most": 5}),
        ({"at_least": 3, "all_of": [{"at_least": 1}]}, {"at_least": 3}),
        ({"any_of": [{"at_least": 1}, {"at_most": 5}]}, {}),
        ({"not": {"at_least": 1}}, {}),
        ({"equals": 7}, {"equals": 7}),
        ({"one_of": [1, 2]}, {}),
        ({"at_least": None}, {}),
        ({"at_most": 10**400}, {}),
        ({"at_most": math.inf}, {}),
        ({"exists": True}, {}),
        ({}, {}),
    ],
)
def test_thresholds_are_the_bounds_that_must_hold(
    expected: dict[str, Any], wanted: dict[str, float], report: Report
) -> None:
    series = series_of(changed(report, expected=expected))
    found = {
        dict(labels)["bound"]: figure
        for (name, labels), figure in series.items()
        if name == "preflight_rule_threshold_bytes"
    }
    assert found == wanted


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nine hours before UTC."""
    with monkeypatch.context() as changed_environment:
        changed_environment.setenv("TZ", "JST-9")
        getattr(time, "tzset", int)()  # Windows has none
        yield
    getattr(time, "tzset", int)()


@pytest.mark.parametrize(
    ("measured_at", "wanted"),
    [
        ("2026-11-23T11:00:00Z", datetime(2026, 11, 23, 11, tzinfo=timezone.utc).timestamp()),
        ("2026-11-23T12:00:00+01:00", datetime(2026, 11, 23, 11, tzinfo=timezone.utc).timestamp()),
        ("1970-01-01T00:00:00", 0),
        ("0001-01-01T00:00:00+14:00", -62135596800 - 14 * 3600),
        ("", None),
        ("yesterday", None),
        ("2026-13-45T99:00:00Z", None),
    ],
)
def test_the_time_of_measuring_wherever_that_is(
    measured_at: str, wanted: float | None, report: Report, tokyo: None
) -> None:
    series = series_of(report._replace(measured_at=measured_at))
    assert value(series, "preflight_measured_timestamp_seconds") == wanted


@pytest.mark.parametrize(
    ("until", "wanted"),
    [
        (date(1970, 1, 1), 86_400),
        (date(2030, 1, 1), datetime(2030, 1, 2, tzinfo=timezone.utc).timestamp()),
        (date.max, 253402300800),
    ],
)
def test_a_waiver_ends_with_its_last_day_in_utc(until: date, wanted: float, report: Report) -> None:
    waived = AppliedWaiver("a reason", "ops", until, 5, True)
    series = series_of(changed(report, verdict="waived", waiver=waived))
    found = value(series, "preflight_waiver_until_timestamp_seconds", rule="host-memory")
    assert found == wanted


# --- labels ---


def labels_of(report: Report, *items: str) -> list[str]:
    """The labels that these items get."""
    (memory,) = [one for one in report.results if one.id == "host-memory"]
    results = tuple(memory._replace(item=item) for item in items)
    series = series_of(report._replace(results=results))
    return [
        dict(labels).get("item", "")
        for (name, labels) in series
        if name == "preflight_rule_value_bytes"
    ]


def test_a_long_label_is_cut_and_stays_apart_from_one_that_begins_alike(report: Report) -> None:
    found = labels_of(report, "x" * 300 + "a", "x" * 300 + "b", "x" * 200, "a\x01", "a\x02")
    assert len(set(found)) == 5
    assert max(map(len, found)) <= 200
    assert found[2] == "x" * 200
    assert not any("\x01" in label for label in found)
    assert found == labels_of(report, "x" * 300 + "a", "x" * 300 + "b", "x" * 200, "a\x01", "a\x02")


def test_of_two_results_for_one_item_the_first_stands(report: Report) -> None:
    (memory,) = [one for one in report.results if one.id == "host-memory"]
    second = memory._replace(verdict="pass", actual=1)
    series = series_of(report._replace(results=(memory, second)))
    assert value(series, "preflight_rule_value_bytes") == memory.actual
    assert value(series, "preflight_rule_verdict", verdict="fail") == 1
    assert value(series, "preflight_rule_verdict", verdict="pass") == 0


def test_foreign_text_reads_back_on_one_line(hostile_report: Report) -> None:
    text = load_renderer("prometheus")(hostile_report, RenderOptions())
    series = read(text)
    assert value(series, "preflight_rule_verdict", rule="host-memory", verdict="fail") == 1
    for line in text.splitlines():
        assert re.match(r"preflight_[a-z_]+[{ ]|# (HELP|TYPE) preflight_[a-z_]+ ", line), line
        assert len(line) < 5000


# --- promtool ---


def promtool(*arguments: str, text: str = "", cwd: Path | None = None) -> str:
    """Run promtool; returns what it has to say."""
    done = subprocess.run(
        [program("promtool"), *arguments],
        input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd, timeout=60,
    )  # fmt: skip
    told = done.stdout.decode(errors="replace")
    assert done.returncode == 0, told
    return told


def test_promtool_finds_nothing_to_say(report: Report) -> None:
    assert (
        promtool("check", "metrics", text=load_renderer("prometheus")(report, RenderOptions()))
        == ""
    )


def test_promtool_finds_nothing_to_say_of_foreign_text(hostile_report: Report) -> None:
    assert (
        promtool(
            "check", "metrics", text=load_renderer("prometheus")(hostile_report, RenderOptions())
        )
        == ""
    )


def test_promtool_finds_nothing_to_say_of_any_unit(report: Report) -> None:
    units = ("bytes", "seconds", "cores", "number", "boolean")
    results = tuple(report.results[1]._replace(id=unit, unit=unit, actual=1) for unit in units)
    text = load_renderer("prometheus")(report._replace(results=results), RenderOptions())
    assert len({line for line in text.splitlines() if "TYPE preflight_rule_value" in line}) == 4
    assert promtool("check", "metrics", text=text) == ""


def alerts() -> str:
    """Return the alerts of the guide to CI."""
    blocks = re.findall(r"```ya?ml\n(.*?)```", CI_GUIDE, re.DOTALL)
    return next(block for block in blocks if "- alert:" in block)


def test_the_alerts_are_good_rules(tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(alerts(), encoding="utf-8")
    assert "SUCCESS:" in promtool("check", "rules", "alerts.yml", cwd=tmp_path)


@pytest.mark.nightly
def test_the_alerts_fire_when_they_should(report: Report, tmp_path: Path) -> None:
    """Prometheus itself evaluates them over this report, measured at the start of its clock."""
    waiver = AppliedWaiver("a reason", "ops", date(1970, 1, 20), 19, True)
    results = tuple(r._replace(waiver=r.waiver and waiver) for r in report.results)
    text = load_renderer("prometheus")(
        report._replace(results=results, measured_at="1970-01-01T00:00:00Z"), RenderOptions()
    )
    series = [
        {"series": name, "values": f"{figure}+0x20000"}
        for name, _, figure in (line.rpartition(" ") for line in text.splitlines())
        if not name.startswith("#")
    ]

    def firing(at: str, **alert: int) -> dict[str, Any]:
        samples = [
            {"labels": f'{{alertname="{name}"}}', "value": count} for name, count in alert.items()
        ]
        expr = 'count by (alertname) (ALERTS{alertstate="firing"})'
        return {"expr": expr, "eval_time": at, "exp_samples": samples}

    failing = report.counts_by_verdict["fail"]
    tests = {
        "rule_files": ["alerts.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    firing("5m"),
                    firing("30m", PreflightRuleFails=failing),
                    firing("119m", PreflightRuleFails=failing),
                    firing("121m", PreflightRuleFails=failing, PreflightStale=1),
                    firing("5d", PreflightRuleFails=failing, PreflightStale=1),
                    firing(
                        "7d", PreflightRuleFails=failing, PreflightStale=1, PreflightWaiverEnds=1
                    ),
                ],
            }
        ],
    }
    (tmp_path / "alerts.yml").write_text(alerts(), encoding="utf-8")
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    assert "SUCCESS" in promtool("test", "rules", "tests.yml", cwd=tmp_path)


# --- node_exporter ---


class Exporter:
    """A node_exporter that serves the files of one folder."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def scrape(self) -> Series:
        """What it serves of the files that are there now."""
        with urllib.request.urlopen(self.url, timeout=30) as answer:
            served = read(answer.read().decode())
        assert served["node_textfile_scrape_error", frozenset()] == 0
        return {key: figure for key, figure in served.items() if key[0].startswith("preflight_")}


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """A real node_exporter on loopback, ended by its own pid."""
    command = program("prometheus-node-exporter")
    folder = tmp_path_factory.mktemp("textfile")
    log = folder / "log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [command, f"--web.listen-address={address}", "--web.disable-exporter-metrics",
             "--collector.disable-defaults", "--collector.textfile",
             f"--collector.textfile.directory={folder}"],
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        started = Exporter(folder, f"http://{address}/metrics")
        for _ in range(300):
            try:
                started.scrape()
                break
            except (OSError, urllib.error.URLError):
                assert process.poll() is None, log.read_text(errors="replace")
                time.sleep(0.1)
        yield started
    finally:
        process.terminate()
        process.wait(20)


def test_node_exporter_serves_every_series(report: Report, exporter: Exporter) -> None:
    text = load_renderer("prometheus")(report, RenderOptions())
    (exporter.folder / "preflight.prom").write_text(text, encoding="utf-8")
    served = exporter.scrape()
    assert served == read(text)
    assert value(served, "preflight_rule_value_bytes", rule="host-memory") == 8_323_000_000


def test_node_exporter_serves_foreign_text(hostile_report: Report, exporter: Exporter) -> None:
    text = load_renderer("prometheus")(hostile_report, RenderOptions())
    (exporter.folder / "preflight.prom").write_text(text, encoding="utf-8")
    assert exporter.scrape() == read(text)


def test_node_exporter_serves_what_check_writes(
    run_preflight: Callable[..., Any], exporter: Exporter
) -> None:
    file = exporter.folder / "preflight.prom"
    done = run_preflight(
        "check", "--facts", str(GOLDEN / "facts.json"), "-r", str(GOLDEN / "rules.yaml"),
        "-f", "json", "-f", f"prometheus:{file}",
    )  # fmt: skip
    told = json.loads(done.stdout)
    served = exporter.scrape()
    assert value(served, "preflight_exit_code") == done.returncode == 1
    for verdict in VERDICTS:
        assert value(served, "preflight_results", verdict=verdict) == told["summary"][verdict]
    assert value(served, "preflight_info", sha256=told["rules"]["sha256"]) == 1


def test_many_results_are_all_there(report: Report) -> None:
    (memory,) = [one for one in report.results if one.id == "host-memory"]
    results: tuple[Result, ...] = tuple(memory._replace(id=f"r{n}") for n in range(300))
    series = series_of(report._replace(results=results))
    assert sum(name == "preflight_rule_value_bytes" for name, _ in series) == 300
