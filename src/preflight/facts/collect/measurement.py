"""The program's side of measuring: sends the request, and receives facts until the deadline."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from preflight.model.facts import FileLine, Measured, Source, Unknown

if TYPE_CHECKING:
    from preflight.facts.collect.worker_process import Worker

SUPPORT_DATA_PATH_PREFIX = "support"  # the first part of the path of data that isn't a fact
_WAIT_INTERVAL_SECONDS = 0.1  # between two calls of `on_wait`
STANDARD_COMPOSE_FILE_NAMES = (
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
)
"""Of compose files, in the order in which Compose looks for them."""
_MAX_REQUESTED_PATHS_BYTES = 60_000  # what a pipe takes at once, whether or not the worker reads it
_WORKER_DEADLINE_MARGIN_SECONDS = 0.2  # the worker ends so long before the program stops waiting


class ContainerLogRequest(NamedTuple):
    """Which logs to read: of these containers, and with `of_project` of all in the compose project.

    Of each its last `lines`, not older than `since` seconds; fewer where these have more than
    `max_bytes`, or than an equal share of `max_total_bytes`.
    """

    containers: Sequence[str] = ()
    of_project: bool = True
    since: float | None = None
    lines: int = 500
    max_bytes: int = 2 * 2**20
    max_total_bytes: int = 4 * 2**20  # a bundle is redacted at some 0.2 MiB/s


class MeasurementOptions(NamedTuple):
    """`path` is where data will be stored; `timeout` is in seconds, for the whole measurement.

    With `logs` the measurement also collects what support wants:
    RunningMeasurement.support_data. With `online` registries are asked, and the names and
    addresses that rules name.
    """

    path: str = "."
    docker_host: str | None = None
    context: str | None = None
    timeout: float = 10.0
    compose_files: Sequence[str] = ()
    logs: ContainerLogRequest | None = None
    online: bool = False


class RunningMeasurement:
    """A measurement that runs in the worker while the program does something else.

    `collect` leaves out what no rule may see: `support_data`, and in `hidden_variables` the names
    and values of variables of services and containers that no rule names, for the redactor.
    """

    def __init__(self, options: MeasurementOptions, worker: "Worker | None" = None) -> None:
        from queue import SimpleQueue  # the worker needs none

        from preflight.facts.collect.worker_process import start_worker

        self._start = self._end = time.monotonic()
        self._timeout, self._online = options.timeout, options.online
        self.support_data: list[Measured] = []
        self.hidden_variables: list[tuple[str, str]] = []
        self._worker_deadline = self._start + max(
            self._timeout - _WORKER_DEADLINE_MARGIN_SECONDS, self._timeout / 2
        )
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._failure = "the worker process ended too early"
        self._worker = worker
        try:
            self._worker = worker or start_worker()
            threading.Thread(
                target=self._read_worker_lines, args=(self._worker,), daemon=True
            ).start()
        except (OSError, RuntimeError) as error:  # no more processes or threads here
            self._failure = f"the worker process could not be started: {error}"
            self._lines.put(None)
            return
        request = json.dumps([options, self._worker_deadline]).encode("ascii") + b"\n"
        assert self._worker.stdin is not None
        with suppress(OSError):  # one that has ended can't read it
            self._worker.stdin.write(request)
            self._worker.stdin.flush()

    def collect(
        self, requested_paths: Iterable[tuple[str, ...]], on_wait: Callable[[float], None] | None
    ) -> list[Measured]:
        """Return the facts that rules may see; `requested_paths` are those that a rule names."""
        from preflight.facts.table import PROBES

        requested_paths = set(requested_paths)
        asked_names = {path[-1] for path in requested_paths if path[-2:-1] == ("environment",)}
        on_demand = {path for path in requested_paths if path[:2] == ("host", "ports")}
        for probe in PROBES:
            on_demand.update(
                probe.select_requested_paths(requested_paths) if probe.asked_only else ()
            )
        facts = []
        for fact in self.receive_facts(on_wait, sorted(on_demand)):
            if fact.path[0] == SUPPORT_DATA_PATH_PREFIX:
                self.support_data.append(fact)
            elif fact.path[-2:-1] != ("environment",) or fact.path[-1] in asked_names:
                facts.append(fact)
            elif isinstance(fact.value, str):
                self.hidden_variables.append((fact.path[-1], fact.value))
        return facts

    def receive_facts(
        self,
        on_wait: Callable[[float], None] | None = None,
        requested_paths: Sequence[tuple[str, ...]] = (),
    ) -> Iterator[Measured]:
        """Yield facts as they come, then an Unknown for every declared fact that didn't.

        Of two values for one path the first counts. `requested_paths` are facts that are measured
        only if a rule names them: the worker was started before the rules were loaded, and waits
        for them. `on_wait` is called with the seconds gone by while there is nothing to yield.
        """
        from queue import Empty

        from preflight.facts.collect.worker_process import stop_worker

        failure, received = "", set()
        self._send_requested_fact_paths(requested_paths)
        try:
            while True:  # what came in time counts, however late it is asked for
                seconds_left = max(0.0, self._start + self._timeout - time.monotonic())
                try:
                    line = self._lines.get(timeout=min(_WAIT_INTERVAL_SECONDS, seconds_left))
                except Empty:
                    if not seconds_left:
                        break
                    if on_wait is not None:
                        on_wait(time.monotonic() - self._start)
                    continue
                if line is None:
                    failure = self._failure if self._end < self._worker_deadline else ""
                    break
                yield (fact := parse_worker_line(line))
                received.add(fact.path)
            for fact in self._make_unknowns_of_declared_facts(failure, requested_paths):
                if fact.path not in received:
                    yield fact
        finally:
            if self._worker is not None:
                stop_worker(self._worker)

    def _make_unknowns_of_declared_facts(
        self, failure: str, requested_paths: Sequence[tuple[str, ...]]
    ) -> Iterator[Measured]:
        """Yield an Unknown for every declared fact: why it is missing, if it is."""
        from preflight.facts.table import PROBES, make_unknown_facts

        if not failure:  # of an engine that answered in time this is known already
            yield Measured(("docker", "problem", "kind"), "timeout", "the deadline")
        for probe in PROBES:
            if probe.asked_only and probe.needs_online and not self._online:
                continue  # the rules say that they need it
            late = f"{probe.late} within {self._timeout:.3g} s"
            reason = Unknown(failure, "error") if failure else Unknown(late, "timeout")
            yield from make_unknown_facts(probe, reason, requested_paths)

    def _send_requested_fact_paths(self, paths: Sequence[tuple[str, ...]]) -> None:
        """Send the last line that the worker waits for: as many paths as a pipe takes."""
        texts, size = [], 0
        for text in map(json.dumps, paths):
            size += len(text) + 2
            if size > _MAX_REQUESTED_PATHS_BYTES:
                break
            texts.append(text)
        if self._worker is not None and self._worker.stdin is not None:
            with suppress(OSError, ValueError), self._worker.stdin as stdin:  # ended, or closed
                stdin.write(f"[{', '.join(texts)}]\n".encode("ascii"))

    def _read_worker_lines(self, worker: "Worker") -> None:
        assert worker.stdout is not None
        with worker.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):  # its deadline may end it in the middle of a long line
                    self._lines.put(line)
        self._end = time.monotonic()
        self._lines.put(None)


def parse_worker_line(line: bytes) -> Measured:
    """Return the fact in a line of the worker's output."""
    path, value, source, is_unknown = json.loads(line.decode("ascii"))
    if isinstance(source, list):
        text, place = source
        source = Source(text, place and FileLine(*place))
    return Measured(tuple(path), Unknown(*value) if is_unknown else value, source)
