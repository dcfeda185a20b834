"""`preflight fleet`: the same check on every host of an inventory, over Ansible."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

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
    check_timeout,
    load_rules,
    rules_file,
)
from preflight.cli.outputs import Outputs
from preflight.cli.redacting import PRIVATE_MODE
from preflight.cli.streams import StatusLine, bundled_rules, complain, write, write_file
from preflight.model.fleet import Fleet, HostReport
from preflight.model.problems import InputError
from preflight.model.report import ExitCode
from preflight.model.rules import DEFAULT_RULES, RuleSet
from preflight.render.sanitize import clean

if TYPE_CHECKING:
    from preflight.check import Selection
    from preflight.fleet.playbook import FleetAnswers, HostAnswer

MAX_FILE_NAME_CHARS = 200  # of a file's name, without its ending


def fleet(
    inventory: Annotated[
        list[str],
        typer.Option(
            "--inventory",
            "-i",
            metavar="INVENTORY",
            help="Any Ansible inventory: a file, a folder, a script, or `host1,host2,`."
            " Repeatable.",
        ),
    ],
    limit: Annotated[
        str | None, typer.Option("--limit", metavar="PATTERN", help="Only these hosts.")
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
        bool, typer.Option("--remove", help="Remove what was installed on the hosts.")
    ] = False,
    save: Annotated[
        str | None,
        typer.Option("--save", metavar="DIR", help="Save each host's snapshot as NAME.json."),
    ] = None,
    rules: RulesFile = None,
    formats: Formats = ["text"],  # noqa: B006 - Typer copies it
    chdir: Annotated[
        str | None,
        typer.Option("--chdir", metavar="DIR", help="Folder of the stack on the hosts."),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option("--path", metavar="DIR", help="Where data will be stored on the hosts."),
    ] = None,
    compose_files: ComposeFiles = None,
    docker_host: DockerHost = None,
    context: Context = None,
    only: Only = None,
    skip: Skip = None,
    sets: Sets = None,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as failures.")] = False,
    timeout: Timeout = 10.0,
    no_redact: NoRedact = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show only what needs action.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every host.")] = False,
) -> None:
    """Check every host of an Ansible inventory with the same rules.

    Each host measures itself with this version of preflight, installed into a virtual environment
    in the user's cache folder; its snapshot is judged here. The inventory's preflight_vars set vars
    of the rules for a host or a group. Exit codes are those of check; a host that could not be
    reached is undecided.
    """
    started = time.perf_counter()
    _check_arguments(inventory, timeout, save)
    outputs = Outputs(formats, ())
    files: dict[str, bytes] = {}
    ruleset = load_rules(rules, sets, files)
    selection = pipeline.select(ruleset, only or (), skip or (), strict=strict)

    from preflight.fleet.archive import pack_program, pack_rules, pip_requirements
    from preflight.fleet.playbook import run_playbook

    build, archive = pack_program(bundled_rules(), wheelhouse)
    own_files = {name: data for name, data in files.items() if name != DEFAULT_RULES}
    request = {
        "version": __version__,
        "build": build,
        "requirements": pip_requirements(),
        "offline": wheelhouse is not None,
        "rules": b64encode(pack_rules(own_files, rules_file(rules))).decode(),
        "path": path,
        "chdir": chdir,
        "compose_files": compose_files,
        "docker_host": docker_host,
        "context": context,
        "seconds": timeout,
        "redact": not no_redact,
        "remove": remove,
    }
    values = {"limit": limit, "forks": forks, "private-key": private_key, "user": user}
    options = [f"--inventory={name}" for name in inventory]
    options += [f"--extra-vars={each}" for each in extra_vars or ()]
    options += [f"--{name}={value}" for name, value in values.items() if value is not None]
    options += ["--become"] if become else []
    with StatusLine() as status_line:
        answers = run_playbook(options, request, archive, status_line.show_hosts)
    if remove:
        raise typer.Exit(_show_removed(answers))
    rulesets = load_by_host(rules, sets or [], answers.vars)
    hosts = tuple(
        _judge_host(name, answer, rulesets.get(name, ruleset), selection)
        for name, answer in answers.hosts.items()
    )
    count = "1 host" if len(hosts) == 1 else f"{len(hosts):,} hosts"
    title = f"{count} · {ruleset.name} ({ruleset.origin})"
    report = Fleet(title, hosts, time.perf_counter() - started, ExitCode.UNDECIDED)
    written = outputs.write(report, quiet=quiet, verbose=verbose)
    if save is not None:
        written &= _save_snapshots(save, answers, hosts, PRIVATE_MODE if no_redact else None)
    if answers.signal:
        missing = sum(not answer.output for answer in answers.hosts.values())
        complain(f"interrupted: {missing} of {len(hosts)} hosts did not answer in time")
        raise typer.Exit(128 + answers.signal)  # 130 for Ctrl-C, as shells do
    raise typer.Exit(report.exit_code if written else ExitCode.USAGE)


def _check_arguments(inventory: list[str], timeout: float, save: str | None) -> None:
    """Raise InputError where a fleet can't be asked; make the folder for snapshots."""
    if find_spec("ansible") is None:
        raise InputError(
            "Ansible is not installed beside preflight: pip install '.[fleet]' in its folder, or"
            " pip install ansible-core"
        )
    check_timeout(timeout)
    for name in inventory:
        if "," not in name and not os.path.exists(name):
            raise InputError(f"--inventory {name}: No such file or directory")
    if save is not None:
        try:
            os.makedirs(save, exist_ok=True)
        except OSError as error:
            raise InputError(f"--save {save}: {error.strerror}") from None


def load_by_host(
    rules: str | None, sets: list[str], host_vars: Mapping[str, Any]
) -> dict[str, RuleSet]:
    """Load the rules with each host's preflight_vars, once for all hosts that share them.

    Raises InputError that names the hosts whose vars can't be used.
    """
    hosts_by_vars: dict[str, list[str]] = {}
    for host, values in host_vars.items():
        hosts_by_vars.setdefault(json.dumps(values or {}, sort_keys=True), []).append(host)
    rulesets: dict[str, RuleSet] = {}
    for values, hosts in hosts_by_vars.items():
        try:
            ruleset = load_rules(rules, [*_format_as_set_options(json.loads(values)), *sets])
        except InputError as error:
            names = ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if hosts[3:] else "")
            problems = [f"preflight_vars of {names}: {problem}" for problem in error.problems]
            raise InputError(*problems) from None
        rulesets |= dict.fromkeys(hosts, ruleset)
    return rulesets


def _format_as_set_options(values: Any) -> Iterator[str]:
    """Yield a host's preflight_vars as --set takes them."""
    if not isinstance(values, dict):
        raise InputError(f"expected a mapping of names to values, found {values!r:.80}")
    for name, value in values.items():
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise InputError(f"{name}: expected a value such as 2GB, found {value!r:.80}")
        yield f"{name}={value}"


def _judge_host(
    name: str, answer: HostAnswer, ruleset: RuleSet, selection: Selection
) -> HostReport:
    """Return a host's report, or why it has none."""
    from preflight.snapshot.facts_file import read_snapshot

    started = time.perf_counter()
    if answer.output is None:
        return HostReport(name, None, answer.failure)
    try:
        facts = read_snapshot(answer.output.encode("utf-8", "replace"), "its snapshot")
    except InputError as error:
        return HostReport(name, None, str(error.problems[0]))
    facts = pipeline.with_model(facts, ruleset)
    return HostReport(name, pipeline.check(ruleset, facts, selection, started))


def _save_snapshots(
    folder: str, answers: FleetAnswers, hosts: Iterable[HostReport], mode: int | None
) -> bool:
    """Write the snapshots that were judged; return whether all could be written."""
    errors = []
    for host in hosts:
        if host.report is not None and (snapshot := answers.hosts[host.name].output):
            file = os.path.join(folder, f"{file_name(host.name)}.json")
            try:
                write_file(file, snapshot, mode)
            except InputError as error:
                errors.append(str(error))
    complain(*errors)
    return not errors


def file_name(host: str) -> str:
    """Return a file name for a host: always the same, unique where the case of letters is ignored.

    It never leads to another folder and is never hidden.
    """
    plain = quote(host, safe=" @+=,()[]").replace("~", "%7E")
    plain = f"%2E{plain[1:]}" if plain.startswith(".") else plain
    if 0 < len(plain) <= MAX_FILE_NAME_CHARS and not re.search("[A-Z]", host):
        return plain
    digest = hashlib.sha256(host.encode("utf-8", "replace")).hexdigest()
    return f"{plain[:MAX_FILE_NAME_CHARS]}~{digest[:12]}"


def _show_removed(answers: FleetAnswers) -> int:
    """Print what was removed from which host; return the exit code."""
    code = ExitCode.OK
    for name, answer in answers.hosts.items():
        if answer.output is None:
            complain(f"{name}: {answer.failure}")
            code = ExitCode.UNDECIDED
        else:
            write(clean(f"{name}: {answer.output or 'nothing to remove'}") + "\n")
    return code
