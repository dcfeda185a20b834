"""`preflight fleet`: the same check on every host of an inventory, over Ansible."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from preflight import __version__
from preflight.cli import options, streams
from preflight.cli.check import judge_facts_of_host, parse_format_options, write_reports
from preflight.cli.parser import Argument, CommandSyntax, ParsedArguments
from preflight.cli.redacting import PRIVATE_FILE_MODE
from preflight.model.fleet import Fleet, HostReport, format_rule_set_names
from preflight.model.problems import InputError
from preflight.model.quantities import format_count
from preflight.model.report import ExitCode
from preflight.model.rules import RuleSet
from preflight.render.sanitize import clean_text

if TYPE_CHECKING:
    from preflight.evaluate.judge import RuleSelection
    from preflight.fleet.playbook_runner import FleetAnswers, FleetHostAnswer

MAX_SNAPSHOT_NAME_CHARS = 200  # of a file's name, without its ending

FLEET_COMMAND = CommandSyntax(
    """\
Each host measures itself with this version of preflight, which is installed into a virtual
environment in the user's cache folder. The snapshots are checked on this machine. To set rule
variables for a host or a group, use preflight_vars in the inventory. Exit codes are those of
check; a host that can't be reached counts as unknown.

Example: preflight fleet -i hosts.ini""",
    (
        Argument(
            ("--inventory", "-i"),
            "INVENTORY",
            is_required=True,
            is_repeatable=True,
            help="An Ansible inventory: a file, a folder, a script, or a list of hosts such as "
            "'host1,host2,'.",
        ),
        Argument(
            ("--limit",),
            "PATTERN",
            help="Check only the hosts that match this pattern, as with ansible-playbook --limit.",
        ),
        Argument(
            ("--forks",),
            "N",
            limits=(1, 1000),
            help="The number of hosts to check at the same time.",
        ),
        Argument(
            ("--extra-vars", "-e"),
            "VARS",
            is_repeatable=True,
            help="Ansible variables, in the form that ansible-playbook --extra-vars takes.",
        ),
        Argument(("--become",), help="Measure as root, as with 'ansible --become'."),
        Argument(
            ("--private-key",),
            "FILE",
            is_file=True,
            help="The file that contains the SSH private key.",
        ),
        Argument(("--user", "-u"), "NAME", help="Log in to the hosts as this user."),
        Argument(
            ("--wheelhouse",),
            "DIR",
            help="A folder that contains wheels of all dependencies, for hosts without network "
            "access.",
        ),
        Argument(("--remove",), help="Remove what preflight installed on the hosts."),
        Argument(
            ("--save",), "DIR", help="Save each host's snapshot in this folder, as HOST.json."
        ),
        options.RULES_OPTION,
        options.REPORT_FORMAT_OPTION,
        Argument(("--chdir",), "DIR", help="The folder on the hosts that contains the stack."),
        Argument(
            ("--path",), "DIR", help="The folder on the hosts where models and data will be stored."
        ),
        options.COMPOSE_FILE_OPTION,
        options.DOCKER_HOST_OPTION,
        options.CONTEXT_OPTION,
        *options.JUDGING_OPTIONS,
        options.TIMEOUT_OPTION,
        options.NO_REDACT_OPTION,
        options.QUIET_OPTION,
        Argument(("--verbose", "-v"), help="Show every host, including those that passed."),
    ),
)


def run_fleet(arguments: ParsedArguments) -> int:
    """Run `preflight fleet`; return the exit code."""
    started = time.perf_counter()
    rules, sets, profile = arguments.rules, arguments.set, arguments.profile
    wheelhouse, save = arguments.wheelhouse, arguments.save
    _check_and_prepare_fleet_run(arguments.inventory, wheelhouse, save)
    outputs = parse_format_options(arguments.format, ())
    files: dict[str, bytes] = {}
    ruleset = options.load_rules(rules, sets, files, profile=profile)
    selection = options.select_rules(ruleset, arguments)

    from preflight.fleet.playbook_runner import run_playbook
    from preflight.fleet.program_archive import (
        build_program_tar,
        build_rule_files_tar,
        list_own_dependencies,
    )

    build, archive = build_program_tar(Path(streams.find_bundled_rule_file()), wheelhouse)
    request = {
        "version": __version__,
        "build": build,
        "requirements": list_own_dependencies(),
        "offline": wheelhouse is not None,
        "rules": b64encode(build_rule_files_tar(files, options.choose_rule_file(rules))).decode(),
        "path": arguments.path,
        "chdir": arguments.chdir,
        "compose_files": arguments.compose_file or None,
        "docker_host": arguments.docker_host,
        "context": arguments.context,
        "seconds": arguments.timeout,
        "redact": not arguments.no_redact,
        "remove": arguments.remove,
    }
    with streams.show_status_line() as show:
        answers = run_playbook(
            _list_ansible_options(arguments),
            request,
            archive,
            lambda done, total: show(
                f"{'#' * (24 * done // max(total, 1)):.<24} {done} of {total} hosts"
            ),
        )
    if arguments.remove:
        return _report_removals_by_host(answers)
    rulesets = load_rules_by_host(rules, sets, answers.vars, profile)
    hosts = tuple(
        _judge_host_answer(name, answer, rulesets.get(name, ruleset), selection)
        for name, answer in answers.hosts.items()
    )
    count = format_count(len(hosts), "host")
    title = f"{count} · {format_rule_set_names(hosts, ruleset.name)} ({ruleset.origin})"
    report = Fleet(title, hosts, time.perf_counter() - started, ExitCode.UNDECIDED)
    code = write_reports(outputs, report, arguments)
    mode = PRIVATE_FILE_MODE if arguments.no_redact else None
    if save is not None and not _save_snapshots(save, report, answers, mode):
        code = ExitCode.USAGE
    if answers.signal:
        missing = sum(not answer.output for answer in answers.hosts.values())
        streams.write_message(
            f"interrupted: {missing} of {len(hosts)} hosts did not answer in time"
        )
        code = 128 + answers.signal  # 130 for Ctrl-C, as shells do
    return code


def _list_ansible_options(arguments: ParsedArguments) -> list[str]:
    """Return the options that ansible-playbook gets as they are."""
    values = [
        (name, getattr(arguments, name)) for name in ("limit", "forks", "private_key", "user")
    ]
    values += [("inventory", name) for name in arguments.inventory]
    values += [("extra_vars", variables) for variables in arguments.extra_vars]
    named = [f"--{name.replace('_', '-')}={value}" for name, value in values if value is not None]
    return [*named, *(["--become"] if arguments.become else [])]


def _check_and_prepare_fleet_run(
    inventory: list[str], wheelhouse: str | None, save: str | None
) -> None:
    """Raise InputError if a fleet can't be asked; make the folder for snapshots."""
    streams.check_filesystems_respond([*inventory, *filter(None, (wheelhouse, save))])
    if find_spec("ansible") is None:
        raise InputError(
            "Ansible isn't installed in preflight's Python environment: run pip install "
            "'.[fleet]' in preflight's folder, or pip install ansible-core"
        )
    for name in inventory:
        if "," not in name and not os.path.exists(name):
            raise InputError(f"--inventory {name}: No such file or directory")
        if "," not in name and not (os.path.isfile(name) or os.path.isdir(name)):
            raise InputError(f"--inventory {name} is neither a file nor a folder")
    if save is not None:
        try:
            os.makedirs(save, exist_ok=True)
        except OSError as error:
            raise InputError(f"--save {save}: {error.strerror}") from None


def load_rules_by_host(
    rules: str | None, sets: list[str], host_vars: Mapping[str, Any], profile: str | None = None
) -> dict[str, RuleSet]:
    """Load the rules with each host's preflight_vars, once for all hosts that share them.

    Raises InputError that names the hosts whose vars can't be used.
    """
    hosts_by_vars = defaultdict(list)
    for host, values in host_vars.items():
        hosts_by_vars[json.dumps(values or {}, sort_keys=True)].append(host)
    rulesets: dict[str, RuleSet] = {}
    for shared_vars, hosts in hosts_by_vars.items():
        try:
            ruleset = options.load_rules(
                rules,
                [*_format_vars_as_assignments(json.loads(shared_vars)), *sets],
                profile=profile,
            )
        except InputError as error:
            names = ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if hosts[3:] else "")
            problems = [f"preflight_vars of {names}: {problem}" for problem in error.problems]
            raise InputError(*problems) from None
        rulesets |= dict.fromkeys(hosts, ruleset)
    return rulesets


def _format_vars_as_assignments(values: Any) -> Iterator[str]:
    if not isinstance(values, dict):
        raise InputError(f"expected a mapping of names to values, found {values!r:.80}")
    for name, value in values.items():
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise InputError(f"{name}: expected a value such as 2GB, found {value!r:.80}")
        yield f"{name}={value}"


def _judge_host_answer(
    name: str, answer: FleetHostAnswer, ruleset: RuleSet, selection: RuleSelection
) -> HostReport:
    from preflight.snapshot.facts_file import read_snapshot

    if answer.output is None:
        return HostReport(name, None, answer.failure)
    data = answer.output.encode("utf-8", "replace")
    return judge_facts_of_host(
        name, lambda: read_snapshot(data, "its snapshot"), ruleset, selection
    )


def _save_snapshots(folder: str, fleet: Fleet, answers: FleetAnswers, mode: int | None) -> bool:
    """Write the snapshots that were judged; complain about each that can't be written."""
    errors = []
    for host in fleet.hosts:
        if host.report is not None:
            file = os.path.join(folder, f"{make_snapshot_file_name(host.name)}.json")
            try:
                streams.write_file(file, answers.hosts[host.name].output or "", mode)
            except InputError as error:
                errors.append(str(error))
    streams.write_message(*errors)
    return not errors


def make_snapshot_file_name(host: str) -> str:
    """Return a file name for a host: always the same, unique where the case of letters is ignored.

    It never leads to another folder and is never hidden.
    """
    plain = quote(host, safe=" @+=,()[]").replace("~", "%7E")
    plain = f"%2E{plain[1:]}" if plain.startswith(".") else plain
    if 0 < len(plain) <= MAX_SNAPSHOT_NAME_CHARS and not re.search("[A-Z]", host):
        return plain
    digest = hashlib.sha256(host.encode("utf-8", "replace")).hexdigest()
    return f"{plain[:MAX_SNAPSHOT_NAME_CHARS]}~{digest[:12]}"


def _report_removals_by_host(answers: FleetAnswers) -> int:
    """Print what was removed from which host; return the exit code."""
    code = ExitCode.OK
    for name, answer in answers.hosts.items():
        if answer.output is None:
            streams.write_message(f"{name}: {answer.failure}")
            code = ExitCode.UNDECIDED
        else:
            streams.write_stdout(
                clean_text(f"{name}: {answer.output or 'nothing to remove'}") + "\n"
            )
    return code
