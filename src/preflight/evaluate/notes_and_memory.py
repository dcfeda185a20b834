"""What a report says beside its results: notes, and where the memory of the stack goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from preflight.evaluate.sentences import is_number
from preflight.model.facts import NEEDS_ONLINE_REASON, Facts
from preflight.model.quantities import is_finite_and_within_limit
from preflight.model.report import MemoryBreakdown, MemoryConstraint, Result, ServiceMemory
from preflight.model.rules import BUNDLED_ORIGIN, IMAGES_BY_PACK, RuleSet


def list_report_notes(
    ruleset: RuleSet, facts: Facts, results: Sequence[Result], exclusion: str | None
) -> Iterator[str]:
    """Yield what else to know; `exclusion` is why the file's own rules don't apply."""
    yield from _suggest_rule_sets(ruleset, exclusion, facts)
    path, parent = (facts.get(("host", "disk", name)) for name in ("path", "parent"))
    if isinstance(parent, str) and any(r.fact.startswith("host.disk.") for r in results):
        yield f"{path} doesn't exist yet: its disk was judged at {parent}."
    offline = [r for r in results if r.reason_or_source == NEEDS_ONLINE_REASON]
    if count := sum(not r.fact.startswith("registry.") for r in offline):  # of any stack's images
        noun, them = ("rule needs", "it") if count == 1 else ("rules need", "them")
        yield f"{count} {noun} the network: add --online to judge {them}."
    yield from ruleset.notes
    if ruleset.waivers:
        from preflight.evaluate.waivers import find_unneeded_waivers  # most files have no waiver

        for waiver in find_unneeded_waivers(ruleset.waivers, results):
            yield f"waiver of {waiver.rule}: the rule passes without it; remove the waiver"


def _suggest_rule_sets(ruleset: RuleSet, exclusion: str | None, facts: Facts) -> Iterator[str]:
    """Yield which rules were judged if not the file's own, and where better ones are."""
    note = f"{exclusion}, so only the general rules were judged." if exclusion else ""
    packs = _find_matching_packs(facts) if ruleset.origin == BUNDLED_ORIGIN else []
    if packs:
        names = " or ".join(packs)
        note += f" The documented requirements of {names}: preflight check --rules {packs[0]}"
    elif exclusion and ruleset.origin == BUNDLED_ORIGIN:
        note += " Write this project's own requirements: preflight init"
    if note:
        yield note.strip()


def _find_matching_packs(facts: Facts) -> list[str]:
    """Return the packs whose images the project runs."""
    services = facts.collection("compose", "services")
    repositories = {facts.text("compose", "services", str(name), "repository") for name in services}
    return [pack for pack, own in IMAGES_BY_PACK.items() if repositories.intersection(own)]


def compute_stack_memory(facts: Facts, overhead: float | None) -> MemoryBreakdown:
    """Return what takes memory, in bytes; what isn't known is None."""
    is_local = facts.get(("docker", "local")) is not False
    breakdown = MemoryBreakdown(
        host=get_number_fact(facts, "host", "memory", "total") if is_local else None,
        overhead=overhead,
        docker=get_number_fact(facts, "docker", "memory", "usable"),
        services=tuple(
            _get_service_memory(facts, str(name))
            for name in facts.collection("compose", "services")
        ),
        model=facts.text("model", "name"),
        model_memory=get_number_fact(facts, "model", "memory"),
        model_budget=get_number_fact(facts, "model", "budget"),
    )
    return breakdown._replace(tightest=_find_constraint_with_least_spare(breakdown))


def _get_service_memory(facts: Facts, name: str) -> ServiceMemory:
    path = ("compose", "services", name)
    replicas = get_number_fact(facts, *path, "replicas")
    return ServiceMemory(
        name,
        1 if replicas is None else max(int(replicas), 0),  # a snapshot may hold any number
        get_number_fact(facts, *path, "reservations", "memory"),
        get_number_fact(facts, *path, "limits", "memory"),
    )


def _find_constraint_with_least_spare(breakdown: MemoryBreakdown) -> MemoryConstraint | None:
    """Return the constraint with the least to spare, which is negative where memory is short."""
    reserved = sum((service.reservation or 0) * service.replicas for service in breakdown.services)
    overhead = breakdown.overhead or 0
    of_host = reserved and reserved + overhead
    needs = "the reservations and the overhead" if overhead else "the reservations"
    constraints = [
        MemoryConstraint(where, available, required, required_by)
        for where, available, required, required_by in (
            ("host", breakdown.host, of_host, needs),
            ("docker", breakdown.docker, reserved, "the reservations"),
            ("model", breakdown.model_budget, breakdown.model_memory, "the model needs"),
        )
        if available is not None and required
    ]
    return min(constraints, key=lambda constraint: constraint.spare, default=None)


def get_number_fact(facts: Facts, *path: str) -> float | None:
    """Return a plausible number, such as a size in bytes, or None if it isn't known."""
    value = facts.get(path)
    return value if is_number(value) and is_finite_and_within_limit(value) else None
