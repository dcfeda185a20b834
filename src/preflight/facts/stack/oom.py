"""Whether a container was killed for lack of memory: several signals, as none of them is enough.

The engine's flag misses a killed child on Docker before 24, and Podman leaves it false; exit code
137 is that of any kill; events are few and soon forgotten; the kernel's count ends with the run.
Sources: moby daemon/monitor.go and 57d2d6ef62 (24 sets the flag on any kill, clears it on start).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from preflight.model.facts import Unknown

Certainty: TypeAlias = Literal["certain", "likely", "possible"]
KILLED = 137  # 128 and the number of SIGKILL


class Signals(NamedTuple):
    """What may tell of a kill; None stands for what could not be read."""

    flag: bool | None  # State.OOMKilled
    running: bool
    exit_code: int | None  # of the last run, None while it runs
    restarts: int  # by the engine itself
    started: float  # of the present or last run: seconds of the engine's clock
    kills: int | None  # of the present run, as its cgroup counts them
    events: tuple[float, ...] | None  # `oom` events: seconds of the engine's clock
    trusted: bool  # the flag of this engine is no lie when it is false
    lasting: bool  # the flag stays when the container is started again, and misses children
    share: float | None = None  # of its memory limit that it uses, 1 is all


class Verdict(NamedTuple):
    """Whether it was killed; how sure that is and the signals in words, None where it wasn't."""

    killed: bool | Unknown
    certainty: Certainty | None
    evidence: str | None


def judge(signals: Signals) -> Verdict:
    """Weigh the signals of one container: its present or last run, and runs the engine ended."""
    found = list(_evidence(signals))
    if found:
        sure: Certainty = "certain" if "certain" in [one for one, _ in found] else found[0][0]
        words = [text for _, text in found] + list(_besides(signals))
        return Verdict(True, sure, "; ".join(words))
    hidden = _hidden(signals)
    return Verdict(Unknown(hidden, "unsupported") if hidden else False, None, None)


def _evidence(signals: Signals) -> Iterator[tuple[Certainty, str]]:
    if signals.flag and signals.running and signals.lasting:
        # started by hand since then: what killed it may be mended
        sure: Certainty = "certain" if signals.restarts else "likely"
        yield sure, "State.OOMKilled is true, of the run before its last start"
    elif signals.flag:
        yield "certain", "State.OOMKilled is true"
    if signals.kills:
        yield "certain", f"its cgroup counts {_times(signals.kills, 'killed process')} in this run"
    events = signals.events or ()
    now = sum(time >= signals.started - 1 for time in events)
    before = len(events) - now
    if now and signals.kills != 0:  # v1 tells the engine of a shortage that killed nothing, too
        killed = signals.exit_code == KILLED
        yield "certain" if killed else "likely", f"{_times(now, 'oom event')} in this run"
    if before and signals.restarts:
        yield "likely", f"{_times(before, 'oom event')} before its last start"


def _besides(signals: Signals) -> Iterator[str]:
    """What speaks for it, but proves nothing alone."""
    if signals.exit_code == KILLED:
        yield f"exit code {KILLED}"
    if signals.restarts:
        yield f"restarted {_times(signals.restarts, 'time')}"
    if signals.share is not None and signals.share >= 0.9:
        yield f"it uses {signals.share:.0%} of its limit"


def _hidden(signals: Signals) -> str | None:
    """Why the lack of evidence says nothing here, None where it does say something."""
    if not signals.trusted:
        if signals.exit_code == KILLED:
            return f"exit code {KILLED}: this engine does not tell lack of memory from another kill"
        if signals.restarts:
            times = _times(signals.restarts, "time")
            return f"it was restarted {times}, and this engine does not tell why"
        if signals.running and signals.kills is None:
            return "this engine does not tell kills, and its cgroup is not seen from here"
        return None
    if signals.flag is None and signals.kills is None:
        return "the engine does not say: State.OOMKilled is null or missing"
    if signals.running and signals.lasting and signals.kills is None and signals.events is None:
        return "a killed child shows in events or in its cgroup, and neither could be read"
    return None


def _times(count: int, what: str) -> str:
    plural = "es" if what.endswith("ss") else "s"
    return f"{count} {what}{plural if count != 1 else ''}"
