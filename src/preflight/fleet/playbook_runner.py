"""Runs `ansible-playbook` with the role on every host of an inventory, and collects the answers."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from select import select
from typing import Any, NamedTuple

import psutil

from preflight.fleet.failure_reasons import explain_host_failure
from preflight.model.problems import InputError

FLEET_DIR = Path(__file__).parent
MAX_TASK_OVERHEAD_SECONDS = 40  # besides measuring: connecting, Python, a slow disk
MAX_HOST_INSTALL_SECONDS = 300
MAX_INVENTORY_SECONDS = 120  # cloud providers may answer slowly, and scripts never
MAX_ANSIBLE_ERROR_CHARS = 400
ANSIBLE_EXIT_CODES_WITH_RESULTS = (0, 2, 4, 6)  # also where hosts failed or were not reached
DEFAULT_ANSIBLE_ENVIRONMENT = {"ANSIBLE_PIPELINING": "1", "ANSIBLE_DEPRECATION_WARNINGS": "0"}


class FleetHostAnswer(NamedTuple):
    """What came from a host: its snapshot or the folder that was removed; or why there is none."""

    output: str | None = None
    failure: str = ""


class FleetAnswers:
    """The answers in the inventory's order; `vars` are each host's preflight_vars.

    `signal` is the number of the signal that ended the run early, else 0.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, FleetHostAnswer] = {}
        self.vars: dict[str, Any] = {}
        self.signal = 0

    def add_event(self, event: Mapping[str, Any]) -> None:
        """Take what the callback plugin wrote: the names of all hosts, or a task's result."""
        if "hosts" in event:
            self.hosts = dict.fromkeys(event["hosts"], FleetHostAnswer())
            return
        host, task, result = event["host"], event["task"], event["result"]
        if event["status"] != "ok":
            failure = explain_host_failure(result, task, event["status"])
            self.hosts[host] = FleetHostAnswer(failure=failure)
        elif task == "vars":
            self.vars[host] = result.get("msg")
        elif task in ("measure", "remove") and result.get("rc") == 0:
            self.hosts[host] = FleetHostAnswer(result.get("stdout", ""))


def run_playbook(
    options: Sequence[str],
    request: Mapping[str, Any],
    archive: bytes,
    on_progress: Callable[[int, int], None],
) -> FleetAnswers:
    """Ask all hosts; `request` are the role's variables, `archive` is the program to install.

    `options` are those of ansible-playbook. Raises InputError if the inventory can't be read or
    names no host.
    """
    answers = FleetAnswers()
    with tempfile.TemporaryDirectory(prefix="preflight-") as name:
        folder = Path(name)
        (folder / "archive").write_bytes(archive)
        run = {
            **request,
            "id": f"preflight-{uuid.uuid4().hex}",
            "archive": str(folder / "archive"),
            "task_seconds": int(request["seconds"]) + MAX_TASK_OVERHEAD_SECONDS,
            "install_seconds": MAX_HOST_INSTALL_SECONDS,
        }
        (folder / "run.json").write_text(json.dumps({"preflight_run": run}))
        code = _run_ansible(folder, options, answers, on_progress)
        output = (folder / "output").read_text(errors="replace")
    if answers.signal:
        complaint = "interrupted"
    elif code in ANSIBLE_EXIT_CODES_WITH_RESULTS:
        complaint = (
            "Ansible gave no reason" if answers.hosts else "no hosts: the inventory has none"
        )
    else:
        complaint = _find_ansible_error(output)
    if not answers.hosts and not answers.signal:
        raise InputError(complaint)
    for host, answer in answers.hosts.items():
        if answer == FleetHostAnswer():
            answers.hosts[host] = FleetHostAnswer(failure=complaint)
    return answers


def _run_ansible(
    folder: Path,
    options: Sequence[str],
    answers: FleetAnswers,
    on_progress: Callable[[int, int], None],
) -> int:
    """Run Ansible to its end, or until a signal ends it, so that what has come can be shown."""

    def stop(number: int, _: object) -> None:
        answers.signal = number
        _kill_process_tree(process.pid)

    command = ["ansible-playbook", *options, f"--extra-vars=@{folder / 'run.json'}"]
    events, writing = os.pipe()
    with open(folder / "output", "wb") as output:
        process = subprocess.Popen(
            [*command, str(FLEET_DIR / "playbook.yml")],
            env=_make_ansible_environment(writing), pass_fds=[writing],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,  # no terminal, so that ssh can't ask for a password
        )  # fmt: skip
    os.close(writing)
    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with open(events, "rb") as lines:
            if not select([lines], [], [], MAX_INVENTORY_SECONDS)[0]:
                raise InputError(
                    f"the inventory could not be read within {MAX_INVENTORY_SECONDS} s"
                )
            for line in lines:
                answers.add_event(json.loads(line))
                done = sum(answer != FleetHostAnswer() for answer in answers.hosts.values())
                on_progress(done, len(answers.hosts))
        return process.wait()
    finally:
        _kill_process_tree(process.pid)
        process.wait()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _make_ansible_environment(events: int) -> dict[str, str]:
    """Return the environment for Ansible; what the user has set otherwise stays."""
    return {
        **DEFAULT_ANSIBLE_ENVIRONMENT,
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PREFLIGHT_EVENTS_FD": str(events),
        "ANSIBLE_CALLBACK_PLUGINS": str(FLEET_DIR / "callback_plugins"),
        "ANSIBLE_STDOUT_CALLBACK": "preflight_events",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
        "ANSIBLE_SSH_CONTROL_PATH": "none",  # no connection stays open after the run
        "ANSIBLE_NO_TARGET_SYSLOG": "1",  # hosts would log what they are asked
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
    }


def _kill_process_tree(pid: int) -> None:
    """Kill a process and all its descendants: Ansible's workers have their own sessions."""
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in [top, *top.children(recursive=True)]:
            with suppress(psutil.Error):
                process.kill()


def _find_ansible_error(output: str) -> str:
    """Return in one line why Ansible could not start."""
    source = re.search(r"parse inventory source (.+)", output)
    cause = re.search(r"Failed to parse inventory with '\w+' plugin: (.+)", output)
    missing = re.search(r"Could not find or access '[^'\n]+'", output)  # extra vars, a vault's key
    error = re.search(r"^(?:\[?ERROR\]?.? *|(?=fatal))(.+)", output, re.MULTILINE)
    if missing:
        reason = missing[0]
    elif source and cause:
        reason = f"cannot read the inventory {source[1]}: {cause[1]}"
    else:
        reason = error[1] if error else output.strip().partition("\n")[0] or "it gave no reason"
    return f"Ansible: {reason}"[:MAX_ANSIBLE_ERROR_CHARS]
