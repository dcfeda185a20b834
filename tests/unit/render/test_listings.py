"""The requirements document: written from the rules, always the same, nothing but text in it."""

from __future__ import annotations

from markdown_it import MarkdownIt

from bundled_rules import bundled_rules
from preflight import check as pipeline
from preflight.evaluate.explain import describe_rule_conditions
from preflight.evaluate.sentences import describe_when
from preflight.model.rules import RuleSet
from preflight.render import RenderOptions, listings

RULES = """\
version: 1
source: The plan
vars: {overhead: 2GB}
rules:
  - id: memory
    title: Total RAM
    why: It is shared.
    section: Size
    when: {docker.local: true, host.kernel: {not: {matches: "[Mm]icrosoft"}}}
    fact: host.memory.total
    require: {at_least: {fact: docker.memory.total, times: 0.9, plus: "${overhead}"}}
    recommend: {at_least: {sum: [8GB, {fact: docker.memory.total}]}}
  - {id: tool, title: Compose is installed, fact: docker.compose.version, recommend: {exists: true}}
  - id: up
    title: Docker is reachable
    section: Size
    fact: docker.reachable
    require: {equals: true}
  - id: limit
    title: Memory limit
    section: Size
    for_each: compose.services
    when: {image: {contains: api}}
    fact: limits.memory
    require: {at_most: {fact: docker.memory.usable}}
models: [{name: "phi:latest", memory: 1.6GB, note: Small}]
"""
DOCUMENT = """\
# The plan

Written by `preflight rules document` from the rules. Change the rules, not this file.

## Size

- **Total RAM**: at least 0.9 × docker.memory.total + 2 GB required, \
at least 8 GB + docker.memory.total recommended.
  It is shared.
  Applies only if docker.local is yes and host.kernel doesn't match \\[Mm]icrosoft.
  Rule `memory`, fact `host.memory.total`.
- **Docker is reachable**: required.
  Rule `up`, fact `docker.reachable`.
- **Memory limit**: at most docker.memory.usable required for each of `compose.services`.
  Applies only if image contains api.
  Rule `limit`, fact `compose.services.*.limits.memory`.

## Other requirements

- **Compose is installed**: recommended.
  Rule `tool`, fact `docker.compose.version`.

## Models

| Model | Memory | Notes |
|---|---:|---|
| phi:latest | 1.6 GB | Small |
"""


def loaded(text: str) -> RuleSet:
    return pipeline.load_ruleset("r.yaml", lambda _: text.encode())


def document(ruleset: RuleSet) -> str:
    return listings.render_requirements_document(
        ruleset,
        [describe_rule_conditions(rule) for rule in ruleset.rules],
        [[describe_when(line, None) for line in p.when or ()] for p in ruleset.profiles],
    )


def test_the_document_of_a_rule_file() -> None:
    assert document(loaded(RULES)) == DOCUMENT


def test_profiles_stand_in_the_document_with_their_figures() -> None:
    ruleset = loaded("""\
version: 1
name: shop
vars: {memory: 14GB, cores: 4}
profiles:
  full: {}
  small: {when: {compose.profiles: {contains: small}}, vars: {memory: 7GB, cores: 2}}
rules: [{id: ram, title: RAM, fact: host.memory.total, require: {at_least: "${memory}"}}]
""")
    text = document(ruleset)
    assert "- **RAM**: at least 14 GB required.\n" in text
    assert text.endswith("""\
| full | those above | it is chosen |
| small | memory 7GB, cores 2 | compose.profiles contains small |
""")
    small = document(ruleset.profiles[1].ruleset)
    assert small.startswith("# shop, profile small\n\nWritten by")
    assert "- **RAM**: at least 7 GB required.\n" in small
    assert "## Profiles" not in small
    assert "\nProfiles: full, small\n1 rule" in listings.render_rules(ruleset, RenderOptions())
    profiles = {"full": {}, "small": {"memory": "7GB", "cores": "2"}}
    assert listings.rules_as_json(ruleset)["profiles"] == profiles


def test_sections_of_the_bundled_rules_are_those_of_their_document() -> None:
    ruleset = bundled_rules()
    text = document(ruleset)
    for rule in ruleset.rules:
        assert f"\n## {rule.section}\n" in text
        assert f"Rule `{rule.id}`, fact " in text
    assert "\n- **Total RAM**: at least 10 GB required, at least 12 GB recommended.\n" in text


def test_the_list_of_rules_cuts_nothing_in_a_narrow_terminal() -> None:
    ruleset = bundled_rules()
    text = listings.render_rules(ruleset, RenderOptions(width=80))
    words = " ".join(text.split())
    assert all(len(line) <= 80 for line in text.splitlines())
    for rule in ruleset.rules:
        assert rule.title in words
        assert " ".join(rule.tags) in words


def test_texts_of_a_rule_file_are_no_markup() -> None:
    evil = "<b>x</b> [a](http://x) | `c` *d* # e"
    text = RULES.replace("It is shared.", f"'{evil}'").replace("Small", f"'{evil}'")
    text = text.replace("title: Total RAM", f"title: '{evil}'").replace("The plan", f"'{evil}'")
    tokens = MarkdownIt("commonmark").enable("table").parse(document(loaded(text)))
    inline = [child.type for token in tokens for child in token.children or ()]
    assert not {"html_inline", "link_open", "em_open", "image"} & set(inline)
    assert not [token for token in tokens if token.type == "html_block"]
    cells = [token for token in tokens if token.type == "td_open"]
    assert len(cells) == 3
