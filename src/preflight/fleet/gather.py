"""Lets Ansible run the role on every host of an inventory, and hands on what each sent back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from preflight.fleet.failure_reasons import reason
from preflight.model.problems import InputError

_HERE = Path(__file__).parent
_POLL = 0.25  # seconds between two looks whether it is to end
_START = 40  # seconds that a task may take beside measuring: connecting, Python, a slow disk
_INSTALL = 300
_ENDED_WELL = (0, 2, 4, 6, None)  # also where hosts failed or were not reached
_LONGEST_PLACE = 55  # characters: a socket's path takes 104 at most, and ssh adds 45
_SLACK = 60  # seconds that the whole may take beside its hosts' tasks
_FORKS = 5  # Ansible's own default
_RUNNERS_OWN = (
    "ANSIBLE_HOST_KEY_CHECKING",  # it turns it off
    "ANSIBLE_CACHE_PLUGIN",  # it lets facts be written to files that are named as hosts are
    "ANSIBLE_CACHE_PLUGIN_CONNECTION",
)
"""What ansible-runner sets, and we leave as the user has it."""
_LEAVE_TERMINAL = """
import fcntl, os, sys, termios
terminal = os.open("/dev/tty", os.O_RDWR)
fcntl.ioctl(terminal, termios.TIOCNOTTY)
os.close(terminal)
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Without a terminal ssh can't ask for a password or a host key, which nobody would answer."""


class Wanted(NamedTuple):
    """What the role is asked for; as `preflight_run` it reaches tasks/main.yml.

    `rules` are rule files by their names, as JSON in Base64: Ansible would fill in braces.
    """

    version: str
    digest: str
    rules: str
    path: str | None
    chdir: str | None
    compose_files: Sequence[str]
    docker_host: str | None
    context: str | None
    seconds: float
    most: int
    redact: bool = True
    remove: bool = False
    offline: bool = False


class Reach(NamedTuple):
    """How hosts are reached: options of ansible-playbook, by their own names."""

    inventories: Sequence[str]
    limit: str | None = None
    forks: int | None = None
    extra_vars: Sequence[str] = ()
    become: bool = False
    private_key: str | None = None
    user: str | None = None

    def arguments(self) -> list[str]:
        """Return the command line."""
        made = [part for one in self.inventories for part in ("-i", one)]
        for option, value in (("--limit", self.limit), ("--private-key", self.private_key),
                              ("--user", self.user), ("--forks", self.forks)):  # fmt: skip
            made += [] if value is None else [option, str(value)]
        for one in self.extra_vars:
            made += ["--extra-vars", one]
        return made + (["--become"] if self.become else [])


class Answer(NamedTuple):
    """What came from a host: its snapshot, or why there is none."""

    snapshot: str | None = None
    why: str = ""
    removed: str | None = None


class Gathered(NamedTuple):
    """All hosts in the inventory's order with what came of them; `vars` are of the inventory."""

    hosts: Mapping[str, Answer]
    vars: Mapping[str, Any]
    interrupted: int = 0


class Gathering:
    """One fleet: asked once, and again where the program has to be brought first."""

    def __init__(self, reach: Reach, wanted: Wanted, tick: Callable[[int, int], None]) -> None:
        self._reach = reach
        self._wanted = wanted
        self._tick = tick
        self._hosts: dict[str, Answer] = {}
        self._vars: dict[str, Any] = {}
        self._missing: list[str] = []
        self._interrupted = 0
        self._complaint = "Ansible gave it up without a word"

    def run(self, parcel: Callable[[], bytes]) -> Gathered:
        """Ask all hosts; `parcel` is asked for where one lacks the program.

        Raises InputError where there is no host, or Ansible can't read the inventory.
        """
        place = tempfile.gettempdir()
        place = place if len(place) <= _LONGEST_PLACE else "/tmp"  # nosec B108
        with (
            tempfile.TemporaryDirectory(prefix="pf-", dir=place) as folder,
            _Signals(self._signalled),
        ):
            private = Path(folder)
            self._ask(private / "1", None)
            if not self._hosts and not self._interrupted:
                raise InputError(f"no host: {self._named()} has none")
            if self._missing and not self._interrupted:
                file = private / "parcel.zip"
                file.write_bytes(parcel())
                self._ask(private / "2", file)
        self._close_missing()
        own = {name: self._vars[name] for name in self._hosts if name in self._vars}
        return Gathered(self._hosts, own, self._interrupted)

    def _named(self) -> str:
        where = ", ".join(self._reach.inventories)
        return where if self._reach.limit is None else f"--limit {self._reach.limit} of {where}"

    def _close_missing(self) -> None:
        for name, answer in self._hosts.items():
            if answer == Answer():
                why = "interrupted" if self._interrupted else self._complaint
                self._hosts[name] = Answer(why=why)

    def _signalled(self, number: int) -> None:
        self._interrupted = number

    # --- one run of Ansible --------------------------------------------------------------------

    def _ask(self, private: Path, parcel: Path | None) -> None:
        private.mkdir(mode=0o700)
        runner, output = self._runner(private, parcel)
        try:
            runner.run()
        finally:
            _end_masters(private / "cp")
        if runner.rc in _ENDED_WELL or self._interrupted:
            return
        self._complaint = _complaint(output())
        if not self._hosts:
            raise InputError(self._complaint)

    def _runner(self, private: Path, parcel: Path | None) -> Any:
        from ansible_runner import Runner, RunnerConfig

        run = self._request(private, parcel)
        config = RunnerConfig(
            private_data_dir=str(private),
            playbook=str(_HERE / "playbook.yml"),
            project_dir=os.getcwd(),
            cmdline="",
            envvars=_environment(private),
            settings={"pexpect_timeout": _POLL},
            quiet=True,
            rotate_artifacts=0,
        )
        config.prepare()
        for name in _RUNNERS_OWN:
            config.env.pop(name, None)
        config.env |= {name: os.environ[name] for name in _RUNNERS_OWN if name in os.environ}
        pid = private / "pid"
        config.command = [
            sys.executable, "-c", _LEAVE_TERMINAL, str(pid),
            "ansible-playbook", *self._reach.arguments(), "--extra-vars", f"@{run}",
            str(_HERE / "playbook.yml"),
        ]  # fmt: skip
        config.env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), config.env["PATH"]])
        watch = _Watch(pid, self._deadline(parcel is not None), lambda: bool(self._interrupted))
        runner = Runner(config, event_handler=self._event, cancel_callback=watch.is_over)

        def output() -> str:
            return (Path(config.artifact_dir) / "stdout").read_text(errors="replace")

        return runner, output

    def _request(self, private: Path, parcel: Path | None) -> Path:
        """Write the variables of the role to a file."""
        seconds = int(self._wanted.seconds) + (_INSTALL if parcel else _START)
        there = f"/tmp/preflight-{uuid.uuid4().hex}"  # nosec B108
        run = {
            **self._wanted._asdict(),
            "parcel": None if parcel is None else str(parcel),
            "parcel_there": there,
            "task_seconds": seconds,
            "missing": self._missing,
        }
        file = private / "run.json"
        file.write_text(json.dumps({"preflight_run": run}))
        return file

    def _deadline(self, installs: bool) -> Callable[[], float]:
        """Return what says how long all hosts may take, once they are known."""
        each = self._wanted.seconds + (_INSTALL if installs else _START)

        def seconds() -> float:
            rounds = -(-max(1, len(self._hosts)) // (self._reach.forks or _FORKS))
            return rounds * each + _SLACK

        return seconds

    # --- what Ansible tells --------------------------------------------------------------------

    def _event(self, event: Mapping[str, Any]) -> bool:
        """Take what one event tells; nothing of it is written to disk again."""
        kind, data = event.get("event"), event.get("event_data") or {}
        result = data.get("res") or {}
        if kind == "runner_on_ok" and data.get("task") == "hosts":
            self._learn(result.get("msg"))
        elif kind == "runner_on_ok" and data.get("task_action") == "preflight_facts":
            self._take(data["host"], result)
        elif kind == "runner_on_unreachable":
            self._put(data["host"], Answer(why=reason(result, unreachable=True)))
        elif kind == "runner_on_failed":
            self._put(data["host"], Answer(why=reason(result, unreachable=False)))
        return False

    def _learn(self, told: Any) -> None:
        """Take the names of all hosts before any is asked."""
        if self._hosts or not isinstance(told, list):
            return
        self._hosts = {str(name): Answer() for name in told}
        self._tick(0, len(self._hosts))

    def _take(self, host: str, result: Mapping[str, Any]) -> None:
        self._vars[host] = result.get("preflight_vars")
        if "snapshot" in result:
            self._put(host, Answer(str(result["snapshot"])))
        elif "removed" in result:
            self._put(host, Answer(removed=str(result["removed"])))
        elif "missing" in result and host not in self._missing:
            self._missing.append(host)
        else:
            self._put(host, Answer(why=str(result.get("trouble") or "it sent no snapshot")))

    def _put(self, host: str, answer: Answer) -> None:
        self._hosts[host] = answer
        done = sum(one != Answer() for one in self._hosts.values())
        self._tick(done, len(self._hosts))


class _Signals:
    """While Ansible runs, a signal ends it in order, and what was gathered stays."""

    def __init__(self, told: Callable[[int], None]) -> None:
        self._told = told

    def __enter__(self) -> None:
        self._before = {
            number: signal.signal(number, lambda number, _: self._told(number))
            for number in (signal.SIGINT, signal.SIGTERM)
        }

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class _Watch:
    """Says when Ansible is to end, and ends it with all that it has started."""

    def __init__(self, pid: Path, seconds: Callable[[], float], told: Callable[[], bool]) -> None:
        self._pid = pid
        self._seconds = seconds
        self._told = told
        self._began = time.monotonic()

    def is_over(self) -> bool:
        """Whether it was told to end, or took longer than all of it may."""
        if not self._told() and time.monotonic() - self._began < self._seconds():
            return False
        try:
            top = psutil.Process(int(self._pid.read_text()))
            children = top.children(recursive=True)
        except (OSError, ValueError, psutil.Error):
            return True
        for process in [top, *children]:
            try:
                process.kill()
            except psutil.Error:
                pass
        return True


def _environment(private: Path) -> dict[str, str]:
    """Return what Ansible is told by variables; what the user has set stays."""
    (private / "cp").mkdir()
    forced = {
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(private / "cp"),
        "ANSIBLE_LIBRARY": str(_HERE / "roles/preflight/library"),
        "ANSIBLE_NO_TARGET_SYSLOG": "1",  # it would keep there what we asked for
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
        "MAX_EVENT_RES": str(2**30),  # a snapshot is bounded where it is made
    }
    return forced | {
        name: value
        for name, value in {"ANSIBLE_PIPELINING": "1", "ANSIBLE_DEPRECATION_WARNINGS": "0"}.items()
        if name not in os.environ
    }


def _end_masters(folder: Path) -> None:
    """End the ssh connections that Ansible keeps open for a next run."""
    for socket in folder.iterdir():
        command = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "x"]
        try:
            subprocess.run(command, capture_output=True, timeout=5, check=False)
        except (OSError, subprocess.TimeoutExpired):
            pass


def _complaint(output: str) -> str:
    """Return what Ansible says where it could not begin, in a line."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", output)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(?:\[?ERROR\]?|fatal)", line)]
    said = (errors or lines or ["nothing"])[0]
    said = re.sub(r"^(?:.ERROR.?:?|ERROR!) *", "", said)
    lacking = re.search(r"Could not find or access '[^'\n]+'", plain)  # extra vars, a vault's key
    if lacking is not None:
        return f"Ansible: {lacking[0][:400]}"
    source = re.search(r"parse inventory source (.+)", said)
    causes = dict(re.findall(r"Failed to parse inventory with '(\w+)' plugin: (.+)", plain))
    if source is not None and causes:
        kind = "yaml" if source[1].endswith((".yaml", ".yml", ".json")) else "ini"
        said = (
            f"cannot read the inventory {source[1]}: {causes.get(kind) or [*causes.values()][-1]}"
        )
    return f"Ansible: {said[:400]}"
