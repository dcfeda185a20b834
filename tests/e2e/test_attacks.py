"""What an adversary once broke: the commands of ../shared/cases/attacks, each of which must fail.

Each attack runs in a copy of its folder and in a namespace of its own processes, which ends what it
leaves behind. It sources env.sh: PF is the program, COMPOSE_BIN the folder of the real Compose,
ENGINE the socket of a real engine, WORK an empty folder.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from documentation import find_program
from engines import IMAGE, Engine, require_programs
from paths import CASES, ROOT, SHARED, TESTS

ATTACKS = SHARED / "cases/attacks"
Attack = Callable[..., str]
ADAPTATIONS = (  # placeholders of the attacks, and names of the program that were others then
    ("TESTS_OF_THE_PROJECT", str(TESTS / "support")),
    ("'$WORK'", repr(str(ROOT / "src"))),
    ("preflight.model.bundle import Part", "preflight.snapshot.bundle import BundleMember"),
    ("bundle.make([Part(", "bundle.build_bundle([BundleMember("),
    (":00Z',{}))", ":00Z',{},()))"),
)

pytestmark = pytest.mark.skipif(not ATTACKS.is_dir(), reason="../shared is not here")


@pytest.fixture
def attack(clean_environment: Path) -> Iterator[Attack]:
    """Run an attack, by the number its folder begins with; returns what it prints."""
    require_programs("unshare", "strace", "unzip")
    work = Path(tempfile.mkdtemp(prefix="pf-", dir="/tmp"))  # short: sockets lie in it

    def run(number: str, engine: str = "/nonexistent.sock", path: str = "") -> str:
        (source,) = ATTACKS.glob(f"{number}-*")
        folder = work / source.name
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.zip", "tr"))
        for file in (ATTACKS / "env.sh", *ATTACKS.glob("*/hung.py")):
            shutil.copy(file, work)
        for file in folder.rglob("*"):
            if file.is_file():
                text = file.read_text()
                for old, new in (*ADAPTATIONS, ("MOUNT", f"{work}/m")):
                    text = text.replace(old, new)
                file.write_text(text)
        shutil.copy(CASES / "linux-healthy/facts.json", folder / "f.json")
        (work / "empty").mkdir()
        with (work / "output").open("wb") as output:
            process = subprocess.Popen(
                ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
                 "bash", "run.sh"],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={
                    **os.environ,
                    "PATH": f"{path}:{os.environ['PATH']}".lstrip(":"),
                    "PF": f"{sys.executable} -m preflight",
                    "COMPOSE_BIN": str(Path(find_program("docker-compose")).parent),
                    "ENGINE": engine,
                    "ENV": str(work / "env.sh"),
                    "WORK": str(work),
                },
            )  # fmt: skip
            try:
                process.wait(120)  # its last command decides with what it ends
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
        return (work / "output").read_text(errors="replace")

    yield run
    shutil.rmtree(work)


def seconds_of(output: str) -> list[float]:
    """Return the times that `time` and hung.py print."""
    times = re.findall(r"^real\s+(\d+)m([\d.]+)s|^([\d.]+)s rc=", output, re.MULTILINE)
    return [float(minutes or 0) * 60 + float(seconds or alone) for minutes, seconds, alone in times]


def test_nothing_is_left_running(attack: Attack) -> None:
    output = attack("01")
    assert "sleep 29" not in output


def test_a_log_that_drips_ends_at_the_deadline(attack: Attack) -> None:
    output = attack("02")
    (took,) = seconds_of(output)
    assert took < 10


def test_a_bundle_of_600000_services_is_refused(attack: Attack) -> None:
    output = attack("04")
    (took,) = seconds_of(output)
    assert took < 10
    assert "too much to evaluate" in output


def test_compose_reads_nothing_outside_the_project(attack: Attack) -> None:
    output = attack("05")
    assert "outside" not in output


def test_an_engine_that_had_no_time_is_unknown(attack: Attack, docker_engine: Engine) -> None:
    output = attack("07", docker_engine.url.removeprefix("unix://"))
    assert "FAIL" not in output
    assert "rc=3" in output
    assert max(seconds_of(output)) < 10


@pytest.mark.parametrize("is_installed", [False, True], ids=["without Compose", "with Compose"])
def test_an_error_of_compose_shows_no_variable(attack: Attack, is_installed: bool) -> None:
    compose = str(Path(find_program("docker-compose")).parent) if is_installed else ""
    output = attack("09", path=compose)
    assert "Hunter2" not in output
    assert "horsebattery" not in output
    assert re.findall(r"^\d+$", output, re.MULTILINE) == ["0", "0", "0"]


def test_a_bundle_is_written_whatever_a_container_logs(
    attack: Attack, docker_engine: Engine
) -> None:
    docker_engine.docker("tag", IMAGE, "busybox:local")
    output = attack("10", docker_engine.url.removeprefix("unix://"))
    assert output.endswith("b.zip\n")


def test_no_command_of_a_ci_system_is_printed(attack: Attack) -> None:
    counts = re.findall(r"^(.*): (\d+)$", attack("11"), re.MULTILINE)
    assert len(counts) == 9
    assert {count for _, count in counts} == {"0"}


def test_a_filesystem_that_hangs_ends_at_the_deadline(attack: Attack) -> None:
    times = seconds_of(attack("14"))
    assert len(times) == 4
    assert max(times) < 10  # without a deadline they take 20 s or more


def test_every_attack_has_a_test() -> None:
    folders = {path.name[:2] for path in ATTACKS.iterdir() if path.is_dir()}
    assert folders == set(re.findall(r'attack\("(\d\d)"', Path(__file__).read_text()))
