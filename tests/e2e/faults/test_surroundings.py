"""A process in poor surroundings tells the same as one in good ones, or says what it lacks.

Each row is what a shell does before it becomes `preflight check` against a real engine. The
verdicts are those of a plain process but for what a row takes away; nothing stays behind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from shlex import quote
from typing import NamedTuple

import psutil
import pytest

from engines import Engine
from paths import ROOT
from processes import MARK_VARIABLE, find_marked_processes
from rows import nightly_except

PREFLIGHT = f"{sys.executable} -m preflight"
CHECK = 'check --timeout 20 -f json --rules "$RULES"'
RULES = """\
version: 1
name: surroundings
rules:
  - {id: memory, title: Memory, fact: host.memory.total, require: {at_least: 1B}}
  - {id: cpus, title: CPUs, fact: host.cpu.logical, require: {at_least: 1}}
  - {id: disk, title: Disk, fact: host.disk.free, require: {at_least: 1B}}
  - {id: engine, title: Engine, fact: docker.reachable, require: {equals: true}}
  - {id: its-memory, title: Its memory, fact: docker.memory.total, require: {at_least: 1B}}
  - {id: too-much, title: Too much, fact: host.memory.total, require: {at_least: 1000TB}}
"""
SAME = {
    "memory": "pass",
    "cpus": "pass",
    "disk": "pass",
    "engine": "pass",
    "its-memory": "pass",
    "too-much": "fail",
}


# another user, who may yet read the folders of this Python, such as /root
USER = (
    "setpriv --reuid 61234 --regid 61234 --clear-groups"
    " --inh-caps +dac_read_search --ambient-caps +dac_read_search"
)
OWN_MOUNTS = "unshare -m --propagation private bash -c"


class Surroundings(NamedTuple):
    """What a shell does first, and the command that it becomes."""

    first: str
    command: str = f"exec {PREFLIGHT} {CHECK}"
    unknown: tuple[str, ...] = ()  # the rules that can't be decided there
    fails: tuple[str, ...] = ()  # those that fail there, and nowhere else


def mounted(what: str, *unknown: str) -> Surroundings:
    """Mount something for the command alone."""
    become = f"exec {OWN_MOUNTS} {quote(f'{what}; exec {PREFLIGHT} {CHECK}')}"
    return Surroundings(":", become, unknown)


def as_user(first: str) -> str:
    return f"exec {USER} bash -c {quote(f'{first}; exec {PREFLIGHT} {CHECK}')}"


OPEN = 'chmod 666 "${DOCKER_HOST#unix://}"'
CLOSED = 'chmod 660 "${DOCKER_HOST#unix://}"'
MEMORY = ("memory", "too-much")

TABLE = {
    "nothing": Surroundings(":"),
    "32 descriptors": Surroundings("ulimit -n 32"),
    "no core, no file but small ones": Surroundings("ulimit -c 0 -f 64"),
    "512 MiB of address space": Surroundings("ulimit -v 524288"),
    "warnings are errors": Surroundings(
        ":", f"exec {sys.executable} -W error -X dev -m preflight {CHECK}"
    ),
    "optimised": Surroundings(":", f"exec {sys.executable} -OO -m preflight {CHECK}"),
    "locale C, no UTF-8 mode": Surroundings(
        "export LC_ALL=C LANG=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"
    ),
    "an unknown locale": Surroundings(":", f"exec env LC_ALL=xx_XX.nothing {PREFLIGHT} {CHECK}"),
    "an unknown time zone": Surroundings("export TZ=Nowhere/At_all"),
    "no HOME": Surroundings("unset HOME"),
    "a HOME that is not there": Surroundings("export HOME=/nonexistent"),
    "a read-only HOME": Surroundings("export HOME=/proc"),
    "no PATH": Surroundings("export PATH=/nonexistent"),
    "no TMPDIR that exists": Surroundings("export TMPDIR=/nonexistent"),
    "an empty environment": Surroundings(
        ":", f'exec env -i DOCKER_HOST="$DOCKER_HOST" {PREFLIGHT} {CHECK}'
    ),
    "a folder that is gone": Surroundings("mkdir gone; cd gone; rmdir ../gone", unknown=("disk",)),
    "standard input closed": Surroundings(":", f"exec {PREFLIGHT} {CHECK} <&-"),
    "standard error closed": Surroundings(":", f"exec {PREFLIGHT} {CHECK} 2>&-"),
    "signals that others ignore": Surroundings("trap '' PIPE HUP CHLD"),
    "a terminal of 1 column": Surroundings("export COLUMNS=1 LINES=1 TERM=nothing"),
    "an ordinary user, not in the docker group": Surroundings(
        CLOSED, as_user(":"), unknown=("its-memory",), fails=("engine",)
    ),
    "an ordinary user with 32 processes": Surroundings(OPEN, as_user("ulimit -u 32")),
    "an ordinary user with 1 process": Surroundings(OPEN, as_user("ulimit -u 1"), tuple(SAME)),
    "no /sys": mounted("mount -t tmpfs none /sys"),
    "no /proc": mounted("mount -t tmpfs none /proc", *MEMORY),
    "garbage in /proc/meminfo": mounted("mount --bind garbage /proc/meminfo", *MEMORY),
    "nothing in /proc/meminfo": mounted("mount --bind /dev/null /proc/meminfo", *MEMORY),
    "noise in /proc/cpuinfo": mounted("mount --bind /dev/urandom /proc/cpuinfo"),
    "garbage in /proc/stat": mounted("mount --bind garbage /proc/stat"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "garbage").write_text("MemTotal: lots kB\ncpu lots\n")
    return tmp_path


def shell(row: Surroundings, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Run a row in a session of its own, and hold that nothing of it stays."""
    mark = f"surroundings-{os.getpid()}-{folder.name}"
    env = {**os.environ, "DOCKER_HOST": url, MARK_VARIABLE: mark,
           "RULES": str(folder / "rules.yaml")}  # fmt: skip
    done = subprocess.run(
        ["/bin/bash", "-c", f"{row.first}\n{row.command}"],
        cwd=folder, env=env, capture_output=True, text=True, timeout=60, start_new_session=True,
    )  # fmt: skip
    assert not find_marked_processes(mark)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def socket_as_it_was(docker_engine: Engine) -> Iterator[None]:
    """The engine is shared: who may use it is what it was, whatever a row does."""
    place = docker_engine.url.removeprefix("unix://")
    mode = os.stat(place).st_mode
    yield
    os.chmod(place, mode)


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in json.loads(done.stdout)["results"]}


EVERY_CHANGE = (
    "32 descriptors",
    "512 MiB of address space",
    "warnings are errors",
    "locale C, no UTF-8 mode",
    "a folder that is gone",
    "standard error closed",
    "an ordinary user, not in the docker group",
    "an ordinary user with 32 processes",
    "no /proc",
    "garbage in /proc/meminfo",
)


@pytest.mark.usefixtures("socket_as_it_was")
@pytest.mark.parametrize("name", nightly_except(TABLE, EVERY_CHANGE))
def test_the_verdicts_hold(name: str, folder: Path, docker_engine: Engine) -> None:
    row = TABLE[name]
    done = shell(row, folder, docker_engine.url)
    expected = SAME | dict.fromkeys(row.unknown, "unknown") | dict.fromkeys(row.fails, "fail")
    code = 1 if "fail" in expected.values() else 3
    assert (done.returncode, verdicts(done), done.stderr) == (code, expected, "")
    assert {path.name for path in folder.iterdir()} == {"rules.yaml", "garbage"}


PYTHONS = {
    python: path
    for python in ("3.10", "3.11", "3.12", "3.13")
    for path in (
        *sorted(glob(f"{os.path.expanduser('~')}/.pyenv/versions/{python}.*/bin/python")),
        *filter(None, [shutil.which(f"python{python}", path="/usr/local/bin:/usr/bin")]),
    )[:1]
}


@pytest.mark.parametrize("python", nightly_except(PYTHONS, list(PYTHONS)[:1]))
def test_every_python_judges_alike(python: str, folder: Path, docker_engine: Engine) -> None:
    places = [ROOT / "src", Path(psutil.__file__).parents[1]]
    first = f"export PYTHONPATH={':'.join(map(str, places))}"
    row = Surroundings(first, f"exec {PYTHONS[python]} -m preflight {CHECK}")
    done = shell(row, folder, docker_engine.url)
    assert (done.returncode, verdicts(done), done.stderr) == (1, SAME, "")


OTHERS = {
    "facts -f json > facts.json": 0,
    "bundle --yes -o bundle.zip --timeout 20": 0,
    "explain host-memory --docker-host $DOCKER_HOST": 0,
    "models": 0,
    "rules validate rules.yaml": 0,
    "diagnose log": 0,
}
POOR = (
    "an empty environment",
    "32 descriptors",
    "512 MiB of address space",
    "locale C, no UTF-8 mode",
    "no HOME",
    "a read-only HOME",
    "no TMPDIR that exists",
)


@pytest.mark.parametrize("name", nightly_except(POOR, POOR[:1]))
def test_the_other_commands_work_there_too(name: str, folder: Path, docker_engine: Engine) -> None:
    (folder / "log").write_text("api-1  | all is well\n")
    row = TABLE[name]
    for command, code in OTHERS.items():
        become = row.command.replace(CHECK, command)
        done = shell(row._replace(command=become), folder, docker_engine.url)
        assert (command, done.returncode) == (command, code), done.stderr
    made = {"facts.json", "bundle.zip"}
    assert {path.name for path in folder.iterdir()} == {"rules.yaml", "garbage", "log", *made}
