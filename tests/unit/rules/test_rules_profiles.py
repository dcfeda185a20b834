"""Profiles of a rule file: whose vars count, and what is wrong with them."""

from __future__ import annotations

import pytest

from preflight import check as pipeline
from preflight.model.problems import InputError
from preflight.model.rules import KNOWN_ERRORS_SET, RuleSet

BASE = """\
version: 1
name: shop
vars: {memory: 14GB, cores: 4}
profiles:
  full: {}
  small: {vars: {memory: 7GB, cores: 2}}
rules:
  - {id: ram, title: RAM, fact: host.memory.total, require: {at_least: "${memory}"}}
  - {id: cores, title: Cores, fact: host.cpu.logical, require: {at_least: "${cores}"}}
  - {id: system, title: System, fact: host.os, require: {equals: linux}}
waivers: [{rule: ram, reason: r, owner: o, until: 2027-01-31, accept: {at_least: "${memory}"}}]
"""


def load(
    text: str = BASE, profile: str | None = None, base: str = BASE, **overrides: str
) -> RuleSet:
    files = {"r.yaml": text, "base.yaml": base, KNOWN_ERRORS_SET: "version: 1"}
    return pipeline.load_ruleset(
        "r.yaml", lambda name: files[name].encode(), overrides, profile=profile
    )


def bounds(ruleset: RuleSet) -> tuple[object, ...]:
    """Return the operand of each rule's first test."""
    return tuple(rule.require.tests[0][1] for rule in ruleset.rules if rule.require)


def problems(text: str, profile: str | None = None) -> list[str]:
    with pytest.raises(InputError) as refused:
        load(text, profile)
    return [str(problem) for problem in refused.value.problems]


def test_a_profile_changes_what_uses_its_vars() -> None:
    assert bounds(load()) == (14e9, 4, "linux")
    small = load(profile="small")
    assert bounds(small) == (7e9, 2, "linux")
    assert small.profile == "small"
    assert not small.profiles
    accept = small.waivers[0].accept
    assert accept is not None
    assert accept.tests[0][1] == 7e9
    assert bounds(load(profile="full")) == (14e9, 4, "linux")


def test_rules_without_vars_are_decoded_once() -> None:
    ruleset = load()
    assert [profile.name for profile in ruleset.profiles] == ["full", "small"]
    full, small = (profile.ruleset for profile in ruleset.profiles)
    assert full.rules[2] is small.rules[2] is ruleset.rules[2]
    assert small.rules[0] is not ruleset.rules[0]


def test_the_same_condition_is_decoded_once_for_each_unit_and_value_of_a_var() -> None:
    text = "version: 1\nvars: {memory: 8GB}\nprofiles: {small: {vars: {memory: 4GB}}}\nrules:\n"
    for number, (fact, bound) in enumerate(
        [
            ("host.memory.total", "at_least: 8GB"),
            ("docker.memory.total", "at_least: 8GB"),
            ("host.cpu.logical", "equals: 8"),
            ("host.hostname", "equals: 8"),
            ("host.memory.total", 'at_least: "${memory}"'),
        ]
    ):
        text += f"- {{id: r{number}, title: T, fact: {fact}, require: {{{bound}}}}}\n"
    ruleset = load(text)
    first, second, *_ = (rule.require for rule in ruleset.rules)
    assert first is second
    assert bounds(ruleset) == (8e9, 8e9, 8, "8", 8e9)
    assert bounds(load(text, "small")) == (8e9, 8e9, 8, "8", 4e9)


def test_set_wins_over_a_profile() -> None:
    assert bounds(load(profile="small", memory="9GB")) == (9e9, 2, "linux")
    assert bounds(load(memory="9GB").profiles[1].ruleset) == (9e9, 2, "linux")


def test_an_extending_file_adds_profiles_and_changes_single_vars_of_one() -> None:
    text = "version: 1\nextends: [base.yaml]\nvars: {memory: 20GB}\n"
    text += (
        "profiles: {small: {when: {host.os: linux}, vars: {cores: 3}}, huge: {vars: {cores: 8}}}"
    )
    assert bounds(load(text, "small")) == (7e9, 3, "linux")  # over the vars of every file
    assert bounds(load(text, "full")) == (20e9, 4, "linux")
    assert bounds(load(text, "huge")) == (20e9, 8, "linux")
    assert load(text).profiles[1].when


def test_facts_of_when_are_measured() -> None:
    text = BASE.replace("full: {}", "full: {when: {docker.swarm.state: active}}")
    assert ("docker", "swarm", "state") in load(text).required_facts


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("memory: 7GB", "memroy: 7GB", "r.yaml:6:17: memroy: unknown var, did you mean 'memory'?"),
        (
            "memory: 7GB",
            "memory: 7",
            "r.yaml:6:17: memory=7: '7' has no unit: write 7GB, 7GiB, or 7B",
        ),
        (
            "cores: 2}",
            "cores: two}",
            "r.yaml:9:75: 'two' isn't a valid number (with profile small)",
        ),
        (
            "full: {}",
            "full: {when: {host.colour: red}}",
            "r.yaml:5:30: unknown fact 'host.colour'",
        ),
        ("full: {}", "full: {var: {}}", "r.yaml:5:10: unknown key 'var' in a profile"),
        ("full: {}", "Full: {}", "r.yaml:5:9: expected a name such as small, found 'Full'"),
    ],
)
def test_problems_have_their_place(old: str, new: str, expected: str) -> None:
    found = problems(BASE.replace(old, new))
    assert any(problem.startswith(expected) for problem in found), found


def test_a_name_that_no_profile_has() -> None:
    hint = "unknown profile, did you mean 'small'?"
    assert problems(BASE, "smal") == [f"--profile smal: {hint}"]
    assert problems(BASE, "x") == ["--profile x: unknown profile: choose from full, small"]
    assert problems("version: 1\nname: plain", "x") == [
        "--profile x: plain has no profiles; COMPOSE_PROFILES sets Compose's own profiles"
    ]
