"""`preflight fleet`: the same check on every host of an inventory, over Ansible."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflight import __version__
from preflight import check as pipeline
from preflight.cli.check import Formats
from preflight.cli.options import (
    ComposeFiles,
    Context,
    DockerHost,
    NoRedact,
    Only,
    RulesFile,
    Sets,
    Skip,
    Timeout,
    load_rules,
    rules_file,
)
from preflight.cli.outputs import Outputs
from preflight.cli.redacting import PRIVATE
from preflight.cli.streams import Progress, bundled_rules, complain, write, write_file
from preflight.model.facts import MAX_SNAPSHOT_BYTES
from preflight.model.problems import InputError
from preflight.model.report import ExitCode, Report
from preflight.model.rules import DEFAULT_RULES, RuleSet
from preflight.render.sanitize import clean

if TYPE_CHECKING:
    from preflight.check import Selection
    from preflight.fleet.gather import Gathered
    from preflight.model.fleet import HostReport

_LONGEST_NAME = 200  # characters of a file's name, less its ending
Inventory = Annotated[
    list[str],
    typer.Option(
        "--inventory",
        "-i",
        metavar="INVENTORY",
        help="Whatever Ansible reads: a file, a folder, a script, or `host1,host2,`. Repeatable.",
    ),
]


def fleet(
    inventory: Inventory,
    limit: Annotated[
        str | None, typer.Option("--limit", metavar="PATTERN", help="Some of the hosts.")
    ] = None,
    forks: Annotated[
        int | None, typer.Option("--forks", metavar="N", min=1, max=1000, help="Hosts at a time.")
    ] = None,
    extra_vars: Annotated[
        list[str] | None,
        typer.Option("--extra-vars", "-e", metavar="VARS", help="Vars of Ansible. Repeatable."),
    ] = None,
    become: Annotated[bool, typer.Option("--become", help="Measure as root.")] = False,
    private_key: Annotated[
        str | None, typer.Option("--private-key", metavar="FILE", help="The key for ssh.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", "-u", metavar="NAME", help="Log in as this user.")
    ] = None,
    wheelhouse: Annotated[
        str | None,
        typer.Option(
            "--wheelhouse",
            metavar="DIR",
            help="Wheels of all dependencies, for hosts without a network.",
        ),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take away what was installed on the hosts.")
    ] = False,
    save: Annotated[
        str | None,
        typer.Option("--save", metavar="DIR", help="Keep each host's snapshot, as NAME.json."),
    ] = None,
    rules: RulesFile = None,
    formats: Formats = ["text"],  # noqa: B006 - Typer copies it
    chdir: Annotated[
        str | None,
        typer.Option("--chdir", metavar="DIR", help="On hosts: the folder of the stack."),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option("--path", metavar="DIR", help="On hosts: where data will be stored."),
    ] = None,
    compose_files: ComposeFiles = None,
    docker_host: DockerHost = None,
    context: Context = None,
    only: Only = None,
    skip: Skip = None,
    sets: Sets = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings gate too.")] = False,
    timeout: Timeout = 10.0,
    no_redact: NoRedact = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show only what needs action.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every host.")] = False,
) -> None:
    """Judge every host of an Ansible inventory by the same rules.

    On each host this same version measures, from a virtual environment of its own under the user's
    cache folder; its snapshot is judged here. The inventory's preflight_vars set vars of the rules,
    so that groups have their own thresholds. Exit codes as check, over all hosts; one that could
    not be reached is undecided.
    """
    started = time.perf_counter()
    _need_ansible()
    if not isfinite(timeout) or not 0 < timeout <= 3600:
        raise InputError(f"--timeout {timeout:g}: expected more than 0 and at most 3600 seconds")
    for one in inventory:
        if "," not in one and not os.path.exists(one):
            raise InputError(f"--inventory {one}: No such file or directory")
    outputs = Outputs(formats, ())
    folder = _Saved(save, PRIVATE if no_redact else None) if save is not None else None
    judge = _Judge(rules, sets or [], only or [], skip or [], strict=strict)

    from preflight.fleet import wheel_archive as parcel
    from preflight.fleet.gather import Gathering, Reach, Wanted

    files = parcel.program(bundled_rules())
    wanted = Wanted(
        version=__version__,
        digest=parcel.digest(files),
        rules=_packed(judge.files, rules_file(rules)),
        path=path,
        chdir=chdir,
        compose_files=compose_files or [],
        docker_host=docker_host,
        context=context,
        seconds=timeout,
        most=MAX_SNAPSHOT_BYTES,
        redact=not no_redact,
        remove=remove,
        offline=wheelhouse is not None,
    )
    reach = Reach(inventory, limit, forks, extra_vars or [], become, private_key, user)
    made = parcel.parcel(files, __version__, wheelhouse) if wheelhouse is not None else None
    with Progress("hosts") as progress:
        gathered = Gathering(reach, wanted, progress.tick).run(
            lambda: made or parcel.parcel(files, __version__, None)
        )
    if remove:
        raise typer.Exit(_removed(gathered))
    judge.learn(gathered.vars)
    title = f"{_count(len(gathered.hosts))} · {judge.ruleset.name} ({judge.ruleset.origin})"
    from preflight.model.fleet import Fleet

    hosts = tuple(_judged(gathered, judge, folder))
    fleet = Fleet(title, hosts, time.perf_counter() - started, ExitCode.UNDECIDED)
    written = outputs.write(fleet, quiet=quiet, verbose=verbose)
    code = fleet.exit_code if written else ExitCode.USAGE
    if folder is not None and folder.faults:
        complain(*folder.faults)
        code = ExitCode.USAGE
    if gathered.interrupted:
        missing = sum(not one.snapshot for one in gathered.hosts.values())
        complain(f"interrupted: {missing} of {len(gathered.hosts)} hosts did not answer in time")
        code = ExitCode.INTERRUPTED if gathered.interrupted == 2 else 128 + gathered.interrupted
    raise typer.Exit(code)


def _need_ansible() -> None:
    from importlib.util import find_spec

    if find_spec("ansible") is None or find_spec("ansible_runner") is None:
        raise InputError(
            "Ansible is not installed beside preflight: pip install '.[fleet]' in its folder, or"
            " pip install ansible-core ansible-runner"
        )


class _Judge:
    """Judges each host by the rules, with the vars that the inventory has for it."""

    def __init__(
        self,
        rules: str | None,
        sets: list[str],
        only: Iterable[str],
        skip: Iterable[str],
        *,
        strict: bool,
    ) -> None:
        self._rules = rules
        self._sets = sets
        self._choice = tuple(only), tuple(skip), strict
        self.files: dict[str, bytes] = {}
        self.ruleset = load_rules(rules, sets, self.files)
        self._loaded = {"": (self.ruleset, self._select(self.ruleset))}

    def _select(self, ruleset: RuleSet) -> Selection:
        only, skip, strict = self._choice
        return pipeline.select(ruleset, only, skip, strict=strict)

    def learn(self, vars_: Mapping[str, Any]) -> None:
        """Load the rules once for each set of vars; raises InputError naming the hosts of a bad."""
        by_vars: dict[str, list[str]] = {}
        for host, mine in vars_.items():
            by_vars.setdefault(json.dumps(mine, sort_keys=True) if mine else "", []).append(host)
        for key, hosts in by_vars.items():
            if key in self._loaded:
                continue
            named = ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if hosts[3:] else "")
            try:
                ruleset = load_rules(self._rules, [*_sets(json.loads(key)), *self._sets])
            except InputError as fault:
                raise InputError(
                    *(f"preflight_vars of {named}: {one}" for one in fault.problems)
                ) from None
            self._loaded[key] = ruleset, self._select(ruleset)

    def judge(self, snapshot: str, mine: Any) -> Report:
        """Return a host's report; raises InputError where its snapshot can't be used."""
        from preflight.snapshot.facts_file import read_snapshot

        ruleset, selection = self._loaded[json.dumps(mine, sort_keys=True) if mine else ""]
        started = time.perf_counter()
        facts = read_snapshot(snapshot.encode("utf-8", "replace"), "its snapshot")
        return pipeline.check(ruleset, pipeline.with_model(facts, ruleset), selection, started)


def _sets(mine: Any) -> Iterator[str]:
    if not isinstance(mine, dict):
        raise InputError(f"expected a mapping of names to values, found {mine!r:.80}")
    for name, value in mine.items():
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise InputError(f"{name}: expected a figure such as 2GB, found {value!r:.80}")
        yield f"{name}={value}"


def _packed(files: Mapping[str, bytes], first: str) -> str:
    """Return rule files as a host gets them: as they lie to each other, named by one entry."""
    import base64

    own = {os.path.abspath(name): data for name, data in files.items() if name != DEFAULT_RULES}
    if not own:
        return ""
    top = os.path.commonpath([os.path.dirname(path) for path in own])
    packed = {
        os.path.relpath(path, top): data.decode("utf-8", "replace") for path, data in own.items()
    }
    entry = {
        "version": 1,
        "extends": ["./" + os.path.relpath(os.path.abspath(first), top)],
        "rules": [],
    }
    packed["entry.yaml"] = json.dumps(entry)
    return base64.b64encode(json.dumps(packed).encode()).decode()


def _judged(gathered: Gathered, judge: _Judge, folder: _Saved | None) -> Iterator[HostReport]:
    """Yield each host's report, or why it has none; what can be judged is saved."""
    from preflight.model.fleet import HostReport

    for name, answer in gathered.hosts.items():
        if answer.snapshot is None:
            yield HostReport(name, None, answer.why)
            continue
        try:
            report = judge.judge(answer.snapshot, gathered.vars.get(name))
        except InputError as fault:
            yield HostReport(name, None, str(fault.problems[0]))
            continue
        if folder is not None:
            folder.keep(name, answer.snapshot)
        yield HostReport(name, report)


def _count(hosts: int) -> str:
    return "1 host" if hosts == 1 else f"{hosts:,} hosts"


class _Saved:
    """The folder that keeps snapshots: no host's name leads out of it, or to another's file."""

    def __init__(self, folder: str, mode: int | None) -> None:
        self._folder = folder
        self._mode = mode
        self.faults: list[str] = []
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as fault:
            raise InputError(f"--save {folder}: {fault.strerror}") from None

    def keep(self, host: str, snapshot: str) -> None:
        """Write a host's snapshot whole, or remember why not."""
        file = os.path.join(self._folder, f"{file_name(host)}.json")
        fault = write_file(file, snapshot, self._mode)
        if fault is not None:
            self.faults.append(fault)


def file_name(host: str) -> str:
    """Return a name for a host's file: the same one whichever other hosts there are.

    Two hosts never have one file, on filesystems that don't tell cases apart neither; it neither
    leads elsewhere nor is hidden.
    """
    import hashlib
    from urllib.parse import quote

    plain = quote(host, safe=" @+=,()[]").replace("~", "%7E")
    plain = f"%2E{plain[1:]}" if plain.startswith(".") else plain
    if 0 < len(plain) <= _LONGEST_NAME and not re.search("[A-Z]", host):
        return plain
    exact = hashlib.sha256(host.encode("utf-8", "replace")).hexdigest()
    return f"{plain[:_LONGEST_NAME]}~{exact[:12]}"


def _removed(gathered: Gathered) -> int:
    """Say what was removed from which host; return the exit code."""
    code = ExitCode.OK
    for name, answer in gathered.hosts.items():
        if answer.removed is None:
            complain(f"{name}: {answer.why}")
            code = ExitCode.UNDECIDED
        else:
            write(clean(f"{name}: {answer.removed or 'nothing was there'}") + "\n")
    return code
