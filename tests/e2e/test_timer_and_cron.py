"""The timer of systemd and the line for cron, as the README has them, with other paths."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from configparser import RawConfigParser
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from documentation import TOOLS, find_program, run, skip_or_fail, snippet

SERVICE = snippet("/etc/systemd/system/preflight.service")
TIMER = snippet("/etc/systemd/system/preflight.timer")
CRON = snippet("/etc/cron.d/preflight")
PROM = "/var/lib/prometheus/node-exporter/preflight.prom"
OS = "version: 1\nname: mine\nrules: [{id: os, title: OS, fact: %s, require: {equals: linux}}]\n"

Here = Callable[[str], str]


def _unit(text: str) -> RawConfigParser:
    read = RawConfigParser(delimiters="=", strict=True)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read_string(text)
    return read


@pytest.fixture
def here(clean_environment: Path, tmp_path: Path) -> Here:
    """Put this machine's paths into a command of the README."""

    def replaced(text: str) -> str:
        paths = {
            PROM: tmp_path / "textfile" / "preflight.prom",
            "/opt/preflight/bin": TOOLS,
            "/srv/models": tmp_path,
        }
        for old, new in paths.items():
            assert old in text
            text = text.replace(old, str(new))
        return text

    return replaced


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in, on a machine without an engine."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    made = tmp_path / "root"
    made.mkdir()
    return made


def _measured(tmp_path: Path) -> dict[str, str]:
    """Read the file as Prometheus does: the verdict by rule."""
    text = (tmp_path / "textfile" / "preflight.prom").read_text(encoding="utf-8")
    return {
        sample.labels["rule"]: sample.labels["verdict"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "verdict" in sample.labels and "rule" in sample.labels and sample.value == 1
    }


def test_systemd_finds_no_fault_with_the_units(here: Here, tmp_path: Path) -> None:
    for name, text in (("preflight.service", here(SERVICE)), ("preflight.timer", TIMER)):
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in ("preflight.service", "preflight.timer")]
    done = run(find_program("systemd-analyze"), "verify", *files, cwd=tmp_path)
    if "Failed to initialize manager" in done.stderr:
        skip_or_fail("systemd-analyze needs a /run/systemd to work in")
    ours = [line for line in done.stderr.splitlines() if "preflight" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_systemd_understands_the_times(tmp_path: Path) -> None:
    timer = _unit(TIMER)["Timer"]
    done = run(find_program("systemd-analyze"), "calendar", timer["OnCalendar"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for span in (timer["RandomizedDelaySec"], _unit(SERVICE)["Service"]["TimeoutStartSec"]):
        done = run(find_program("systemd-analyze"), "timespan", span, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_the_unit_takes_a_verdict_for_no_failure_and_usage_for_one() -> None:
    service = _unit(SERVICE)["Service"]
    assert service["Type"] == "oneshot"
    assert service["SuccessExitStatus"].split() == ["1", "3"]


def test_nothing_in_the_unit_hides_what_is_measured() -> None:
    """Each of these was tried, and takes figures away or makes them another's."""
    service = _unit(SERVICE)["Service"]
    blinding = {"PrivateTmp", "ProtectHome", "PrivateNetwork", "ProcSubset"}
    assert not blinding & service.keys()
    assert service["ProtectSystem"] == "full"


@pytest.mark.parametrize(
    ("fact", "code", "verdict"),
    [("host.os", 0, "pass"), ("host.arch", 1, "fail"), ("docker.version", 3, "unknown")],
)
def test_what_the_unit_starts_writes_what_prometheus_reads(
    here: Here, folder: Path, tmp_path: Path, fact: str, code: int, verdict: str
) -> None:
    (folder / "preflight.yaml").write_text(OS % fact)
    command = _unit(SERVICE)["Service"]["ExecStart"]
    assert not re.search("[%$]", command)  # systemd would put something else there
    done = run(*shlex.split(here(command)), cwd=folder)
    assert done.returncode == code, done.stdout + done.stderr
    assert _measured(tmp_path) == {"os": verdict}
    assert (tmp_path / "textfile/preflight.prom").stat().st_mode & 0o444 == 0o444


def _by_cron(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of /etc/cron.d as crontab(5) says: five times, a user, and to sh up to a `%`."""
    *times, user, command = line.split(None, 6)
    assert (len(times), user) == (5, "root")
    assert all(re.fullmatch(r"\*|[0-9]+", one) for one in times)
    command = re.split(r"(?<!\\)%", command)[0].replace("\\%", "%")
    return run("/bin/sh", "-c", command, cwd=cwd)


def test_the_line_for_cron_writes_it_and_says_nothing(
    here: Here, folder: Path, tmp_path: Path
) -> None:
    (folder / "preflight.yaml").write_text(OS % "host.arch")
    done = _by_cron(here(CRON.splitlines()[1]), folder)
    assert done.returncode == 1, done.stderr
    assert (done.stdout, done.stderr) == ("", "")  # cron sends mail for anything else
    assert _measured(tmp_path) == {"os": "fail"}


def test_under_cron_a_bad_rule_file_is_reported(here: Here, folder: Path, tmp_path: Path) -> None:
    (folder / "preflight.yaml").write_text("nonsense")
    done = _by_cron(here(CRON.splitlines()[1]), folder)
    assert done.returncode == 2
    assert "preflight.yaml:1:1: " in done.stderr
    assert not (tmp_path / "textfile/preflight.prom").exists()
