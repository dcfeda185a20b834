"""Runs `ansible-playbook` with the role on every host of an inventory, and collects the answers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from preflight.fleet.failure_reasons import failure_reason
from preflight.model.problems import InputError

FOLDER = Path(__file__).parent
TASK_SECONDS = 40  # that a task may take besides measuring: connecting, Python, a slow disk
INSTALL_SECONDS = 300
OVERHEAD_SECONDS = 60  # that the run may take besides its hosts' tasks
DEFAULT_FORKS = 5  # Ansible's own
MAX_TMPDIR_CHARS = 55  # a socket's path has 104 at most, and ssh adds 45
CODES_WITH_RESULTS = (0, 2, 4, 6)  # also where hosts failed or were not reached
DEFAULT_ENVIRONMENT = {"ANSIBLE_PIPELINING": "1", "ANSIBLE_DEPRECATION_WARNINGS": "0"}


class HostAnswer(NamedTuple):
    """What came from a host: its snapshot, the folder that was removed, or why there is neither."""

    snapshot: str | None = None
    failure: str = ""
    removed: str | None = None


class FleetAnswers(NamedTuple):
    """The answers in the inventory's order; `vars` are each host's preflight_vars."""

    hosts: Mapping[str, HostAnswer]
    vars: Mapping[str, Any]
    interrupted: int = 0  # the number of the signal


def run_playbook(
    options: Sequence[str],
    forks: int | None,
    request: Mapping[str, Any],
    archive: bytes,
    on_progress: Callable[[int, int], None],
) -> FleetAnswers:
    """Ask all hosts; `request` are the role's variables, `archive` is what a host may lack.

    `options` are those of ansible-playbook. Raises InputError where there is no host, or Ansible
    can't read the inventory.
    """
    place = tempfile.gettempdir()
    place = place if len(place) <= MAX_TMPDIR_CHARS else "/tmp"
    with tempfile.TemporaryDirectory(prefix="pf-", dir=place) as folder:
        run = _Run(Path(folder), request, forks or DEFAULT_FORKS, on_progress)
        (run.folder / "archive").write_bytes(archive)
        return run.answers(options)


class _Run:
    """One run of ansible-playbook: the answers so far, and its end."""

    def __init__(
        self,
        folder: Path,
        request: Mapping[str, Any],
        forks: int,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self.folder = folder
        self._request = request
        self._forks = forks
        self._on_progress = on_progress
        self._hosts: dict[str, HostAnswer | None] = {}
        self._vars: dict[str, Any] = {}
        self._interrupted = 0

    def answers(self, options: Sequence[str]) -> FleetAnswers:
        """Run it to its end, or until a signal or the deadline ends it."""
        events, writing = os.pipe()
        with open(self.folder / "output", "wb") as output:
            process = subprocess.Popen(
                self._command(options), env=self._environment(writing), pass_fds=[writing],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,  # no terminal, so that ssh can't ask for a password
            )  # fmt: skip
        os.close(writing)
        deadline = threading.Timer(0, _kill_tree, [process.pid])
        deadline.daemon = True
        try:
            with self._stop_on_signal(process.pid), open(events, "rb") as lines:
                for line in lines:
                    if not self._hosts:
                        deadline.interval = self._seconds_for(len(json.loads(line)["hosts"]))
                        deadline.start()
                    self._read_event(json.loads(line))
                code = process.wait()
        finally:
            deadline.cancel()
            _kill_tree(process.pid)
            process.wait()
            _end_connections(self.folder / "cp")
        complaint = "Ansible gave no reason"
        if code not in CODES_WITH_RESULTS and not self._interrupted:
            complaint = _ansible_error((self.folder / "output").read_text(errors="replace"))
            if not self._hosts:
                raise InputError(complaint)
        if not self._hosts and not self._interrupted:
            raise InputError("no hosts: the inventory has none")
        missing = HostAnswer(failure="interrupted" if self._interrupted else complaint)
        hosts = {name: answer or missing for name, answer in self._hosts.items()}
        return FleetAnswers(hosts, self._vars, self._interrupted)

    def _command(self, options: Sequence[str]) -> list[str]:
        request = {
            **self._request,
            "id": f"preflight-{uuid.uuid4().hex}",
            "archive": str(self.folder / "archive"),
            "task_seconds": int(self._request["seconds"]) + TASK_SECONDS,
            "install_seconds": INSTALL_SECONDS,
        }
        variables = self.folder / "run.json"
        variables.write_text(json.dumps({"preflight_run": request}))
        playbook = str(FOLDER / "playbook.yml")
        return ["ansible-playbook", *options, f"--extra-vars=@{variables}", playbook]

    def _environment(self, events: int) -> dict[str, str]:
        """Return the environment for Ansible; what the user has set otherwise stays."""
        (self.folder / "cp").mkdir()
        return {
            **DEFAULT_ENVIRONMENT,
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PREFLIGHT_EVENTS_FD": str(events),
            "ANSIBLE_CALLBACK_PLUGINS": str(FOLDER / "callback_plugins"),
            "ANSIBLE_STDOUT_CALLBACK": "preflight_events",
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
            "ANSIBLE_NO_TARGET_SYSLOG": "1",  # hosts would log what they are asked
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_NOCOLOR": "1",
        }

    def _seconds_for(self, hosts: int) -> float:
        rounds = -(-max(1, hosts) // self._forks)
        each = 2 * (self._request["seconds"] + TASK_SECONDS) + INSTALL_SECONDS
        return float(rounds * each + OVERHEAD_SECONDS)

    @contextmanager
    def _stop_on_signal(self, pid: int) -> Iterator[None]:
        """Let a signal end Ansible, so that what has come can be shown."""

        def stop(number: int, _: object) -> None:
            self._interrupted = number
            _kill_tree(pid)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _read_event(self, event: Mapping[str, Any]) -> None:
        """Take what the callback plugin wrote: the names of all hosts, or a task's result."""
        if "hosts" in event:
            self._hosts = dict.fromkeys(event["hosts"])
        elif event["status"] != "ok":
            failure = failure_reason(event["result"], event["task"], event["status"])
            self._hosts[event["host"]] = HostAnswer(failure=failure)
        elif event["task"] == "vars":
            self._vars[event["host"]] = event["result"].get("msg")
        elif event["task"] == "remove":
            self._hosts[event["host"]] = HostAnswer(removed=event["result"].get("stdout", ""))
        elif event["task"] == "measure" and event["result"].get("rc") == 0:
            self._hosts[event["host"]] = HostAnswer(event["result"].get("stdout", ""))
        done = sum(answer is not None for answer in self._hosts.values())
        self._on_progress(done, len(self._hosts))


def _kill_tree(pid: int) -> None:
    """Kill a process and all below it; Ansible's workers have sessions of their own."""
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in [top, *top.children(recursive=True)]:
            with suppress(psutil.Error):
                process.kill()


def _end_connections(folder: Path) -> None:
    """End the ssh connections that Ansible keeps open for a next run."""
    for socket in folder.iterdir():
        command = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "x"]
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=5, check=False)


def _ansible_error(output: str) -> str:
    """Return what Ansible says where it could not begin, in a line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(?:\[?ERROR\]?|fatal)", line)]
    error = re.sub(r"^(?:.ERROR.?:?|ERROR!) *", "", (errors or lines or ["it gave no reason"])[0])
    missing = re.search(r"Could not find or access '[^'\n]+'", output)  # extra vars, a vault's key
    if missing is not None:
        error = missing[0]
    source = re.search(r"parse inventory source (.+)", error)
    causes = dict(re.findall(r"Failed to parse inventory with '(\w+)' plugin: (.+)", output))
    if source is not None and causes:
        kind = "yaml" if source[1].endswith((".yaml", ".yml", ".json")) else "ini"
        cause = causes.get(kind) or [*causes.values()][-1]
        error = f"cannot read the inventory {source[1]}: {cause}"
    return f"Ansible: {error[:400]}"
