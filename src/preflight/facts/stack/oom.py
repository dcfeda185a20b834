"""Whether a container was killed for lack of memory, judged from several signals.

No signal is enough alone. The engine's flag misses a killed child on Docker before 24, and Podman
leaves it false; exit code 137 is that of any kill; events are soon forgotten; the kernel's count
ends with the run. Sources: moby daemon/monitor.go and 57d2d6ef62 (24 sets the flag on any kill and
clears it on start).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from preflight.facts.engine.api import EngineApi
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.nested_values import get_nested_value, get_nested_whole_number
from preflight.model.facts import Unknown

OomTimes: TypeAlias = Mapping[str, Sequence[float]]
OomVerdict: TypeAlias = tuple[bool | Unknown, str | Unknown | None, str | Unknown | None]

MAX_EVENTS_WAIT_SECONDS = 2.0
_EVENTS_PERIOD_SECONDS = 86400
_SIGKILL_EXIT_CODE = 137  # 128 and the number of SIGKILL


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
    event_times: Sequence[float] | None  # `oom` events
    flag_is_reliable: bool  # a false flag of this engine means no kill
    flag_outlives_run: bool  # and it misses children
    memory_share: float | None = None  # of its memory limit that it uses, 1 is all


def judge_oom(signals: OomSignals) -> OomVerdict:
    """Weigh the signals of a container's current or last run, and of runs the engine ended.

    Returns whether it was killed, how certain that is, and the evidence; both absent if it wasn't.
    """
    certain: list[str] = []
    likely: list[str] = []
    if signals.flag and signals.running and signals.flag_outlives_run:
        # a start by hand since then may have followed a repair
        text = "State.OOMKilled is true, of the run before its last start"
        (certain if signals.restarts else likely).append(text)
    elif signals.flag:
        certain.append("State.OOMKilled is true")
    if signals.kills:
        certain.append(f"kills that its cgroup counts in this run: {signals.kills}")
    was_killed = signals.exit_code == _SIGKILL_EXIT_CODE
    times = signals.event_times or ()
    current = sum(time >= signals.started - 1 for time in times)
    earlier = len(times) - current
    if current and signals.kills != 0:  # v1 also reports a shortage that killed nothing
        (certain if was_killed else likely).append(f"oom events in this run: {current}")
    if earlier and signals.restarts:
        likely.append(f"oom events before its last start: {earlier}")
    if certain or likely:
        evidence = certain + likely
        # what follows supports the verdict, but proves nothing alone
        if was_killed:
            evidence.append(f"exit code {_SIGKILL_EXIT_CODE}")
        if signals.restarts:
            evidence.append(f"restarts: {signals.restarts}")
        if signals.memory_share is not None and signals.memory_share >= 0.9:
            evidence.append(f"it uses {signals.memory_share:.0%} of its limit")
        return True, "certain" if certain else "likely", "; ".join(evidence)
    reason = _explain_unknown_oom(signals)
    if reason is None:
        return False, None, None
    unknown = Unknown(reason, "unsupported")
    return unknown, unknown, unknown


def _explain_unknown_oom(signals: OomSignals) -> str | None:
    """Return why a lack of evidence proves nothing here, or None if it proves that all is well."""
    if signals.flag_is_reliable:
        if signals.kills is not None:
            return None
        if signals.flag is None:
            return "the engine doesn't report State.OOMKilled"
        if signals.running and signals.flag_outlives_run and signals.event_times is None:
            return "a killed child shows in events or in its cgroup, and neither could be read"
        return None
    if signals.exit_code == _SIGKILL_EXIT_CODE:
        return "this engine doesn't tell lack of memory from another kill with exit code 137"
    if signals.restarts:
        return "it was restarted, and this engine doesn't report why"
    if signals.running and signals.kills is None:
        return "this engine doesn't report kills, and its cgroup isn't visible"
    return None


def read_oom_times(api: EngineApi, project: str, now: float | None) -> OomTimes | None:
    """Return the times of `oom` events by container id, or None if they can't be read."""
    if now is None:
        return None
    label = f"com.docker.compose.project={project}"
    filters = {"type": ["container"], "event": ["oom"], "label": [label]}
    since = int(now) - _EVENTS_PERIOD_SECONDS
    try:
        events = api.events(since, int(now), MAX_EVENTS_WAIT_SECONDS, filters)
    except EngineError:
        return None
    times = defaultdict(list)
    for event in events:
        container = get_nested_value(event, "Actor.ID")
        nanoseconds = get_nested_whole_number(event, "timeNano")
        if event.get("Action") == "oom" and isinstance(container, str) and nanoseconds:
            times[container].append(nanoseconds / 1e9)
    return times
