"""`preflight diagnose`: known errors in logs, what they mean and what to do."""

import io
import os
import re
import stat
import time
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from preflight.check import add_derived_facts, build_catalogue
from preflight.cli import options, streams
from preflight.cli.parser import Argument, CommandSyntax, ParsedArguments
from preflight.facts.collect.measurement import ContainerLogRequest
from preflight.model.facts import CONTAINERS_FACT_PATH, MAX_BUNDLE_BYTES, Facts, Unknown
from preflight.model.patterns import SlowPatternError
from preflight.model.problems import InputError
from preflight.model.report import ExitCode
from preflight.model.rules import RuleSet

if TYPE_CHECKING:
    from preflight.logs.log_searcher import LogSearcher
    from preflight.model.diagnosis import LogReport

_MAX_CONTAINER_LOG_BYTES = 16 * 2**20  # of one container
_MAX_TOTAL_LOG_BYTES = 2**30
_LOG_FILE_NAME_PATTERN = re.compile(r".*(?:\.log|\.txt|log|\.journal\.txt)", re.IGNORECASE)
_ROTATED_LOG_NAME_PATTERN = re.compile(
    r"(?P<base>.+?)(?:\.(?P<number>[0-9]{1,5})|[.-](?P<date>[0-9]{8}(?:[-_.]?[0-9]{2,6})?))?"
    r"(?:\.gz)?",
    re.DOTALL,
)
_SORT_KEY_OF_CURRENT_LOG = (2, 0, "")
_NO_FACTS = Facts({})

DIAGNOSE_COMMAND = CommandSyntax(
    """\
Logs can be plain text, gzip files, Docker's json-file logs, or journals. The advice fits the
machine described by --facts or a bundle or, with --container or --compose, this machine.

Exit code: 0 if no known error was found, or only possible ones; 1 if one is certain or likely;
2 for wrong usage or a log that can't be read.

Example: docker compose logs -t | preflight diagnose -""",
    (
        Argument(
            ("logs",),
            "[LOG]...",
            is_file=True,
            is_repeatable=True,
            help="Log files (rotated files are read too), folders, or bundles. Use - for standard "
            "input.",
        ),
        Argument(
            ("--container",), "NAME", is_repeatable=True, help="Read the log of this container."
        ),
        Argument(("--compose",), help="Read the logs of the compose project's containers."),
        Argument(
            ("--since",),
            "DURATION",
            help="With --container or --compose, read only the last DURATION of the logs, such "
            "as 2h.",
        ),
        Argument(
            ("--lines",),
            "N",
            default="100000",
            limits=(1, 1000000),
            help="With --container or --compose, read only the last N lines of each log.",
        ),
        options.RULES_OPTION,
        options.FORMAT_OPTION,
        options.FACTS_OPTION,
        *options.MEASURING_OPTIONS,
        *options.RULE_VARIABLE_OPTIONS,
    ),
)


def run_diagnose(arguments: ParsedArguments) -> int:
    """Run `preflight diagnose`; return the exit code."""
    from preflight.render import diagnosis as render

    started = time.perf_counter()
    logs = arguments.logs
    source = options.FactsSource(arguments)
    live = bool(arguments.container) or arguments.compose
    _check_diagnose_options(logs, live=live, facts=source.snapshot)
    if live:  # it is measured while files are read
        bounds = _MAX_CONTAINER_LOG_BYTES, _MAX_TOTAL_LOG_BYTES
        source.start_measuring(
            ContainerLogRequest(
                arguments.container, arguments.compose, arguments.since, arguments.lines, *bounds
            )
        )
    ruleset = options.load_rules(
        arguments.rules, arguments.set, profile=arguments.profile, known_errors=True
    )
    inputs = _LogInputs(ruleset)
    try:
        if logs:
            is_limited = options.is_given_on_command_line(arguments, "--timeout")
            inputs.read_named_logs(logs, source.options.timeout if is_limited else None)
        if live:
            inputs.read_containers(source)
    except SlowPatternError as error:
        raise InputError(str(error)) from None
    if source.snapshot is not None:
        inputs.facts = source.collect_facts(inputs.ruleset)
    report = build_log_report(inputs.ruleset, inputs.searcher, inputs.facts)
    if not report.files and not inputs.facts.collection(*CONTAINERS_FACT_PATH):
        raise InputError(
            f"{', '.join(logs)} contains neither logs nor containers: create the bundle in the "
            "project's folder while the containers exist, or specify log files"
        )
    notes = inputs.searcher.notes
    if notes and not report.line_count and not report.findings:
        raise InputError(*notes)  # nothing could be read, which doesn't mean that it is clean
    streams.write_message(*notes)
    if arguments.format == "json":
        streams.write_json_output(render.diagnosis_as_json(report))
    else:
        streams.write_stdout(
            render.render_log_report_text(
                report, time.perf_counter() - started, streams.make_terminal_render_options()
            )
        )
    is_sure = any(finding.confidence != "possible" for finding in report.findings)
    return ExitCode.FAILED if is_sure else ExitCode.OK


def build_log_report(
    ruleset: RuleSet, searcher: "LogSearcher", facts: Facts = _NO_FACTS
) -> "LogReport":
    """Return what the known errors in the logs mean, with the facts if there are any."""
    from preflight.evaluate.diagnoses import describe_container_states
    from preflight.evaluate.diagnoses import diagnose as find_causes

    for name, line in describe_container_states(facts):
        searcher.add_container_state(name, line)
    return find_causes(ruleset, searcher.build_search_result(), facts, build_catalogue())


def _check_diagnose_options(logs: list[str], *, live: bool, facts: str | None) -> None:
    """Raise InputError if options are missing or contradict each other."""
    if not logs and not live:
        raise InputError(
            "no log given: specify files, - for standard input, a bundle, --container NAME, or "
            "--compose"
        )
    if live and facts is not None:
        raise InputError(
            "--facts can't be used with --container or --compose, which read this machine's logs"
        )
    if [*logs, facts].count("-") > 1:
        raise InputError("standard input (-) is given twice: use a file for one of them")


class _LogInputs:
    """The logs that were read so far, and the facts that came with them."""

    def __init__(self, ruleset: RuleSet) -> None:
        self.ruleset = ruleset
        self.facts = _NO_FACTS
        self._already_read: set[object] = set()

    @cached_property
    def searcher(self) -> "LogSearcher":
        """The reader of all logs; made once there is one, as its patterns may take a second."""
        from preflight.logs.log_searcher import LogSearcher

        searcher = LogSearcher(self.ruleset.diagnoses)
        if searcher.slow_reason is not None:
            streams.write_message(f"reading logs slowly: {searcher.slow_reason}")
        return searcher

    def read_named_logs(self, names: list[str], timeout: float | None) -> None:
        """Read what is named on the command line; raises InputError if it takes longer."""
        searcher = self.searcher  # making it isn't reading
        with streams.limit_reading_time(timeout):
            for name in names:
                if name == "-":
                    searcher.add_log("standard input", streams.open_standard_input())
                elif _is_zip_file(name):
                    self._read_bundle(name)
                else:
                    self._read_files(name)

    def _read_files(self, name: str) -> None:
        paths = _find_log_files(name, self._already_read)
        if len(paths) > 1:
            streams.write_message(f"{name}: {len(paths)} logs, the oldest first")
        for path in paths:
            self._read_file(path)

    def _read_file(self, path: str) -> None:
        """Search a file up to the size that it has now."""
        try:
            file = streams.open_without_hanging(path)
        except OSError as error:
            raise streams.make_unreadable_input_error(path, error) from None
        with file:
            state = os.fstat(file.fileno())
            size = state.st_size if stat.S_ISREG(state.st_mode) else 0
            self.searcher.add_log(path, file, size or None)  # files in /proc have no size

    def _read_bundle(self, name: str) -> None:
        from preflight.snapshot.bundle import LOGS_FOLDER, read_bundle
        from preflight.snapshot.facts_file import read_snapshot

        data = streams.read_input(name, MAX_BUNDLE_BYTES)
        members = read_bundle(data, name)
        logs = [member for member in members if member.startswith(LOGS_FOLDER)]
        for log in logs:
            self.searcher.add_log(f"{name}:{log}", io.BytesIO(members[log]))
        if not logs:
            streams.write_message(
                f"{name} has no logs, so only its snapshot of the containers was searched"
            )
        self.facts = add_derived_facts(read_snapshot(data, name), self.ruleset)

    def read_containers(self, source: options.FactsSource) -> None:
        """Read the logs of containers here, while the machine is measured."""
        from preflight.facts.stack import config_and_logs

        self.facts = source.collect_facts(self.ruleset)
        data = config_and_logs.build_config_and_logs(source.support_data)
        if not data.logs:
            raise InputError(data.problem or "no containers: nothing was started")
        if data.problem is not None:
            streams.write_message(data.problem)
        for name, log in data.logs:
            if isinstance(log, Unknown):
                streams.write_message(f"the log of {name}: {log.reason}")
            else:
                self.searcher.add_log(name, io.BytesIO(log))
        if all(isinstance(log, Unknown) for _, log in data.logs):
            raise InputError("none of the containers' logs could be read")


# --- files: which logs a name means, in which order --------------------------------------------


class _RotatedLogFile(NamedTuple):
    """A file by the name that it had before it was rotated or compressed; the oldest sorts first.

    That is api.log-20260101, then api.log.2, api.log.1 and api.log.
    """

    base: str
    age: tuple[int, int, str]
    path: str


def _find_log_files(name: str, already_read: set[object]) -> list[str]:
    """Return the paths of the logs that a name means, the oldest first.

    A folder means all logs in it; a file, itself after those that were rotated away from it
    (`api.log.2.gz`, `api.log.1`, `api.log`). Those that were read already are left out: a shell's
    `api.log*` names rotated logs too, and a link leads to the same file. Raises InputError if
    there are none.
    """
    paths = [name]
    try:
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            logs = _list_files_in_rotation_order(name)
            paths = [
                log.path
                for log in logs
                if _LOG_FILE_NAME_PATTERN.fullmatch(log.base) or log.path.endswith(".gz")
            ]
        elif stat.S_ISREG(mode):
            folder, base = os.path.split(name)
            with suppress(OSError):
                logs = [log for log in _list_files_in_rotation_order(folder) if log.base == base]
                paths = [*(log.path for log in logs if log.age < _SORT_KEY_OF_CURRENT_LOG), name]
        elif stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and name != os.devnull):
            raise InputError(f"cannot read {name}: it is a device")
    except (OSError, ValueError) as error:
        raise streams.make_unreadable_input_error(name, error) from None
    if not paths:
        raise InputError(
            f"{name} contains no logs: expected names that end in .log, .txt, .log.N, or .gz"
        )
    unread = []
    for path in paths:
        if (identity := streams.get_file_identity(path)) not in already_read:
            already_read.add(identity)
            unread.append(path)
    return unread


def _list_files_in_rotation_order(folder: str) -> list[_RotatedLogFile]:
    logs = []
    for name in os.listdir(folder or "."):
        match = _ROTATED_LOG_NAME_PATTERN.fullmatch(name)
        base, number, date = match.groups() if match else (name, None, None)
        age = (
            (0, 0, date) if date else (1, -int(number), "") if number else _SORT_KEY_OF_CURRENT_LOG
        )
        logs.append(_RotatedLogFile(base, age, os.path.join(folder, name)))
    return sorted(log for log in logs if os.path.isfile(log.path))


def _is_zip_file(path: str) -> bool:
    """Return whether a file begins as a bundle does."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False  # opening a pipe would wait for a writer
        with open(path, "rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except (OSError, ValueError):
        return False
