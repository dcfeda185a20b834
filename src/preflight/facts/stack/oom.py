"""Whether a container was killed for lack of memory, judged from several signals.

No signal is enough alone. The engine's flag misses a killed child on Docker before 24, and Podman
leaves it false; exit code 137 is that of any kill; events are soon forgotten; the kernel's count
ends with the run. Sources: moby daemon/monitor.go and 57d2d6ef62 (24 sets the flag on any kill and
clears it on start).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from preflight.facts.engine.api import EngineApi, EngineError
from preflight.facts.engine.responses import get_object, is_count
from preflight.model.facts import Unknown

OomTimes: TypeAlias = Mapping[str, tuple[float, ...]]
Certainty: TypeAlias = Literal["certain", "likely", "possible"]
_EVENTS_SINCE_SECONDS = 86400
EVENTS_WAIT_SECONDS = 2.0
SIGKILL_EXIT_CODE = 137  # 128 and the number of SIGKILL


class OomSignals(NamedTuple):
    """Signals of a kill; None stands for what couldn't be read.

    Times are in seconds of the engine's clock.
    """

    flag: bool | None  # State.OOMKilled
    running: bool
    exit_code: int | None  # of the last run, None while it runs
    restarts: int  # by the engine itself
    started: float  # start of the current or last run
    kills: int | None  # of the current run
    event_times: tuple[float, ...] | None  # `oom` events
    flag_is_reliable: bool  # a false flag of this engine means no kill
    flag_outlives_run: bool  # and it misses children
    memory_share: float | None = None  # of its memory limit that it uses, 1 is all


class OomVerdict(NamedTuple):
    """Whether it was killed; the certainty and the evidence are None where it wasn't."""

    killed: bool | Unknown
    certainty: Certainty | None
    evidence: str | None


def judge_oom(signals: OomSignals) -> OomVerdict:
    """Weigh the signals of a container's current or last run, and of runs the engine ended."""
    evidence = list(_find_evidence(signals))
    if evidence:
        certainties = [certainty for certainty, _ in evidence]
        certainty = "certain" if "certain" in certainties else certainties[0]
        texts = [text for _, text in evidence] + list(_supporting_signals(signals))
        return OomVerdict(True, certainty, "; ".join(texts))
    reason = _why_unknown(signals)
    return OomVerdict(Unknown(reason, "unsupported") if reason else False, None, None)


def _find_evidence(signals: OomSignals) -> Iterator[tuple[Certainty, str]]:
    if signals.flag and signals.running and signals.flag_outlives_run:
        # a start by hand since then may have followed a repair
        certainty: Certainty = "certain" if signals.restarts else "likely"
        yield certainty, "State.OOMKilled is true, of the run before its last start"
    elif signals.flag:
        yield "certain", "State.OOMKilled is true"
    kills = signals.kills
    if kills:
        yield (
            "certain",
            f"its cgroup counts {_pluralize(kills, 'killed process', 'es')} in this run",
        )
    times = signals.event_times or ()
    current = sum(time >= signals.started - 1 for time in times)
    earlier = len(times) - current
    if current and kills != 0:  # v1 also reports a shortage that killed nothing
        certainty = "certain" if signals.exit_code == SIGKILL_EXIT_CODE else "likely"
        yield certainty, f"{_pluralize(current, 'oom event')} in this run"
    if earlier and signals.restarts:
        yield "likely", f"{_pluralize(earlier, 'oom event')} before its last start"


def _supporting_signals(signals: OomSignals) -> Iterator[str]:
    """Yield what supports the verdict, but proves nothing alone."""
    if signals.exit_code == SIGKILL_EXIT_CODE:
        yield f"exit code {SIGKILL_EXIT_CODE}"
    if signals.restarts:
        yield f"restarted {_pluralize(signals.restarts, 'time')}"
    if signals.memory_share is not None and signals.memory_share >= 0.9:
        yield f"it uses {signals.memory_share:.0%} of its limit"


def _why_unknown(signals: OomSignals) -> str | None:
    """Return why a lack of evidence proves nothing here, None where it proves that all is well."""
    kills = signals.kills
    if not signals.flag_is_reliable:
        if signals.exit_code == SIGKILL_EXIT_CODE:
            return "this engine does not tell lack of memory from another kill with exit code 137"
        if signals.restarts:
            times = _pluralize(signals.restarts, "time")
            return f"it was restarted {times}, and this engine does not report why"
        if signals.running and kills is None:
            return "this engine does not report kills, and its cgroup is not visible from here"
        return None
    if signals.flag is None and kills is None:
        return "the engine does not report State.OOMKilled"
    blind = signals.running and signals.flag_outlives_run
    if blind and kills is None and signals.event_times is None:
        return "a killed child shows in events or in its cgroup, and neither could be read"
    return None


def _pluralize(number: int, noun: str, ending: str = "s") -> str:
    return f"{number} {noun}{ending if number != 1 else ''}"


def read_oom_times(api: EngineApi, project: str, now: float | None, found: list[OomTimes]) -> None:
    """Add the times of `oom` events by container id to `found`; nothing if they can't be read."""
    if now is None:
        return
    label = f"com.docker.compose.project={project}"
    filters = {"type": ["container"], "event": ["oom"], "label": [label]}
    try:
        events = api.events(
            int(now) - _EVENTS_SINCE_SECONDS, int(now), EVENTS_WAIT_SECONDS, **filters
        )
    except EngineError:
        return
    times: dict[str, tuple[float, ...]] = {}
    for event in events:
        container, nanoseconds = get_object(event, "Actor").get("ID"), event.get("timeNano")
        if event.get("Action") != "oom" or not isinstance(container, str):
            continue
        if is_count(nanoseconds):
            times[container] = (*times.get(container, ()), nanoseconds / 1e9)
    found.append(times)
