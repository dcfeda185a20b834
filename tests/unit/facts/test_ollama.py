"""Ollama: how it reads its settings, where it is asked, and whatever may answer there."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from contexts import completed
from ollama_server import BAD, GEMMA, MISTRAL, PS, TAGS, Fake, saying, serving
from preflight.facts import ollama
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.project import ComposeError, Project
from preflight.facts.engine.endpoint import Endpoint, EngineError
from preflight.facts.language_model import normalize_model_name
from preflight.facts.ollama import (
    compute_kv_cache_bytes_per_token,
    estimate_model_memory,
    find_configured_model,
    find_ollama_services,
    locate_ollama_api,
    parse_keep_alive,
    parse_ollama_host,
    parse_whole_number_setting,
    read_ollama_settings,
    read_ollama_variable,
)
from preflight.facts.table import FACT_DECLARATIONS_BY_SUBJECT
from preflight.model.facts import (
    FactCatalogue,
    Facts,
    FileLine,
    Source,
    Unknown,
    build_facts,
)

HOUR = 3600.0
FOR_EVER = -1
IGNORED = "ignored"

KEEP_ALIVE: list[tuple[str | None, float | str]] = [
    (None, 300), ("", 300), ("  ", 300), ('""', 300), ("'", 300),
    ("5m", 300), ("300s", 300), ("300", 300), ("1h30m", 5400), ("24h", 24 * HOUR),
    ("1m30s", 90), ("+5m", 300), ("90s", 90), ("1.5h", 5400), ("0.5m", 30), ("1m1m", 120),
    ("007s", 7), ("60000ms", 60), ("100us", 0.0001), ("1500000000ns", 1.5),
    ("0", 0), ("-0", 0), ("+0", 0), ("0s", 0), ("00", 0),
    ("-1", FOR_EVER), ("-1s", FOR_EVER), ("-1m", FOR_EVER), ("-24h", FOR_EVER), ("+7", 7),
    ("  5m ", 300), ('"5m"', 300), ("'10m'", 600), ("\t10m\n", 600), ("\u00a010m", 600),
    ('"" 5m', IGNORED), ('" 5m "', IGNORED),
    ("5 minutes", IGNORED), ("5 m", IGNORED), ("5M", IGNORED), ("5H", IGNORED), ("1d", IGNORED),
    ("1w", IGNORED), ("5min", IGNORED), ("1.5", IGNORED), (".5", IGNORED), (".s", IGNORED),
    ("-.s", IGNORED), ("s", IGNORED), ("-", IGNORED), ("+", IGNORED), ("--1", IGNORED),
    ("1h-2m", IGNORED), ("1..5s", IGNORED), ("5m0", IGNORED), ("5m 30s", IGNORED),
    ("1e3", IGNORED), ("1_000", IGNORED), ("0x10", IGNORED), ("5,5m", IGNORED), ("٣", IGNORED),
    ("٣s", IGNORED), ("forever", IGNORED), ("infinite", IGNORED), ("none", IGNORED),
    ("9223372036s", 9223372036), ("9223372037s", IGNORED), ("2562048h", IGNORED),
    ("9223372036854775807ns", 9223372036.854775807), ("99223372036854775808ns", IGNORED),
    ("-9223372036854775808ns", FOR_EVER),
    ("9223372036854775808", IGNORED), ("-9223372036854775809", IGNORED), ("9" * 5000, IGNORED),
    ("9223372036", 9223372036),
]  # fmt: skip


def told(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {one.name: one.value for one in read_ollama_settings(environment)}


def words(environment: Mapping[str, Any]) -> dict[str, str]:
    return {one.name: one.description for one in read_ollama_settings(environment)}


@pytest.mark.parametrize(("text", "expected"), KEEP_ALIVE)
def test_keep_alive_is_what_go_makes_of_it(text: str | None, expected: float | str) -> None:
    found = told({"OLLAMA_KEEP_ALIVE": text})
    assert found["keep_alive"] == (300 if expected == IGNORED else expected)
    assert (found["ignored"] is not None) == (expected == IGNORED)


NUMBERS: list[tuple[str | None, int | str | None]] = [
    (None, None), ("", None), ("0", None), ("00", None), ("1", 1), ("4", 4), ("007", 7),
    (" 2 ", 2), ('"2"', 2), ("18446744073709551615", 2**64 - 1),
    ("18446744073709551616", IGNORED), ("-1", IGNORED), ("+1", IGNORED), ("1.0", IGNORED),
    ("one", IGNORED), ("1_0", IGNORED), ("0x2", IGNORED), ("1e2", IGNORED), ("2 3", IGNORED),
    ("٣", IGNORED), ("²", IGNORED),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), NUMBERS)
@pytest.mark.parametrize("name", ["num_parallel", "max_loaded_models", "context_length"])
def test_numbers_are_what_go_makes_of_them(
    name: str, text: str | None, expected: int | str | None
) -> None:
    variable = f"OLLAMA_{name.upper()}"
    found = told({variable: text})
    assert found[name] == (None if expected == IGNORED else expected)
    assert found["ignored"] == ([f"{variable}={text}"] if expected == IGNORED else None)


def test_the_words_say_what_ollama_takes() -> None:
    assert words({})["keep_alive"] == "OLLAMA_KEEP_ALIVE is not set: Ollama uses 5m"
    said = words({"OLLAMA_KEEP_ALIVE": "5 minutes"})["keep_alive"]
    assert said == "OLLAMA_KEEP_ALIVE=5 minutes isn't a valid duration: Ollama uses 5m"
    assert words({"OLLAMA_KEEP_ALIVE": "-1"})["keep_alive"].endswith("stays loaded for ever")
    assert words({"OLLAMA_KEEP_ALIVE": "90"})["keep_alive"].endswith("Ollama uses 1m30s")
    assert "0.13" in words({})["num_parallel"]
    assert "3 models on a CPU" in words({"OLLAMA_MAX_LOADED_MODELS": "0"})["max_loaded_models"]
    assert words({"OLLAMA_NUM_PARALLEL": "2"})["num_parallel"] == "OLLAMA_NUM_PARALLEL=2"


def test_what_is_ignored_is_told_in_short_and_on_one_line() -> None:
    found = told(
        {"OLLAMA_KEEP_ALIVE": "a\x1b[31m\nb\u202e" + "c" * 100, "OLLAMA_NUM_PARALLEL": "x"}
    )
    keep, queue = found["ignored"]
    assert keep == "OLLAMA_KEEP_ALIVE=a[31mb" + "c" * 53 + "…"
    assert queue == "OLLAMA_NUM_PARALLEL=x"


def test_a_value_that_is_no_text_is_read_as_one() -> None:
    assert told({"OLLAMA_KEEP_ALIVE": 60, "OLLAMA_NUM_PARALLEL": 2})["keep_alive"] == 60
    assert read_ollama_variable({"A": True}, "A") == "True"


@pytest.mark.parametrize("text", ["", "x" * 65_536, "1" * 65_536, "." * 65_536, "1h" * 32_768])
def test_no_text_takes_long_to_read(text: str) -> None:
    start = time.process_time()
    for parse in (parse_keep_alive, parse_whole_number_setting, parse_ollama_host):
        try:
            parse(text)
        except ValueError:
            pass
    assert time.process_time() - start < 2


# --- where it is asked ---

HOSTS = [
    ("127.0.0.1", "http://127.0.0.1:11434"),
    ("127.0.0.1:8080", "http://127.0.0.1:8080"),
    ("0.0.0.0", "http://127.0.0.1:11434"),
    ("0.0.0.0:1234", "http://127.0.0.1:1234"),
    (":1234", "http://127.0.0.1:1234"),
    ("::", "http://[::1]:11434"),
    ("[::]:80", "http://[::1]:80"),
    ("::1", "http://[::1]:11434"),
    ("[::1]", "http://[::1]:11434"),
    ("[::1]:1", "http://[::1]:1"),
    ("2001:db8::1", "http://[2001:db8::1]:11434"),
    ("gpu.example", "http://gpu.example:11434"),
    ("http://gpu.example", "http://gpu.example:80"),
    ("https://gpu.example", "https://gpu.example:443"),
    ("https://gpu.example:1234/", "https://gpu.example:1234"),
    ("http://gpu.example/ollama/", "http://gpu.example:80/ollama"),
    ("gpu.example:", "http://gpu.example:11434"),
    (' "gpu.example:1" ', "http://gpu.example:1"),
]


@pytest.mark.parametrize(("text", "url"), HOSTS)
def test_ollama_host_has_its_own_grammar(text: str, url: str) -> None:
    assert parse_ollama_host(read_ollama_variable({"A": text}, "A")) == url


@pytest.mark.parametrize(
    "text",
    ["tcp://gpu:1", "[::zz]", "user:secret@gpu:1", "http://user:secret@gpu", "a b", "gpu\r\nX: y", "unix:///s",
     "gpu?x", "gpu:x", "gpu:99999", "gpu/a b", "gpü"],
)  # fmt: skip
def test_what_can_not_be_dialled_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected HOST|^Port |does not appear"):
        parse_ollama_host(text)
    address, _ = locate_ollama_api({"OLLAMA_HOST": text}, True, None)
    assert isinstance(address, Unknown)
    assert address.kind == "invalid"
    assert "secret" not in address.reason


def port(published: Any = "11434", host_ip: Any = None, **more: Any) -> dict[str, Any]:
    return {"target": 11434, "published": published, "host_ip": host_ip, "protocol": "tcp", **more}


def service(*ports: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"image": "ollama/ollama", "ports": list(ports), **more}


HERE = "http://127.0.0.1:11434"
ENDPOINTS: list[tuple[dict[str, str], bool, dict[str, Any] | None, str | None]] = [
    ({}, True, None, HERE),
    ({"OLLAMA_HOST": ""}, True, None, HERE),
    ({"OLLAMA_HOST": "gpu:1"}, True, None, "http://gpu:1"),
    ({"OLLAMA_HOST": "gpu:1"}, False, None, "http://gpu:1"),
    ({"OLLAMA_HOST": "gpu:1"}, True, service(port("9")), "http://gpu:1"),
    ({}, False, None, "unsupported"),
    ({}, False, service(port("9")), "unsupported"),
    ({}, True, service(port("9")), "http://127.0.0.1:9"),
    ({}, True, service(port("9", "127.0.0.1")), "http://127.0.0.1:9"),
    ({}, True, service(port("9", "127.0.0.2")), "http://127.0.0.2:9"),
    ({}, True, service(port("9", "0.0.0.0")), "http://127.0.0.1:9"),
    ({}, True, service(port("9", "::")), "http://[::1]:9"),
    ({}, True, service(port("9", "::1")), "http://[::1]:9"),
    ({}, True, service(port(9)), "http://127.0.0.1:9"),
    ({}, True, service(port("1", target=80), port("9")), "http://127.0.0.1:9"),
    ({}, True, service(port("9", "192.0.2.1")), "unsupported"),  # not ours for certain
    ({}, True, service(port("9", "127.evil.example")), "unsupported"),
    ({}, True, service(port("9", "192.0.2.1"), port("8")), "http://127.0.0.1:8"),
    ({}, True, service(port(None)), "unsupported"),
    ({}, True, service(port("")), "unsupported"),
    ({}, True, service(port("0")), "unsupported"),
    ({}, True, service(port("9000-9010")), "unsupported"),
    ({}, True, service(port("99999")), "unsupported"),
    ({}, True, service(), None),
    ({}, True, {"image": "ollama/ollama"}, None),
    ({}, True, service(port("9", target=80)), None),
    ({}, True, service(port("9", protocol="udp")), None),
    ({}, True, {"network_mode": "host"}, HERE),
    ({}, True, {"network_mode": "host", "environment": {"OLLAMA_HOST": "0.0.0.0:81"}},
     "http://127.0.0.1:81"),
    ({}, True, service(port("9", target=81), environment={"OLLAMA_HOST": "0.0.0.0:81"}),
     "http://127.0.0.1:9"),
    ({}, True, service(port("9"), environment={"OLLAMA_HOST": "a b"}), "http://127.0.0.1:9"),
]  # fmt: skip


@pytest.mark.parametrize(("environ", "local", "config", "expected"), ENDPOINTS)
def test_where_it_is_asked(
    environ: dict[str, str], local: bool, config: dict[str, Any] | None, expected: str | None
) -> None:
    address, source = locate_ollama_api(environ, local, config)
    if expected is None:
        assert address is None
        assert "publishes no port for 11434" in source
    elif isinstance(address, Unknown):
        assert address.kind == expected
        assert "set OLLAMA_HOST" in address.reason
    else:
        assert address == expected


# --- the configured model ---


def project(
    services: dict[str, Any], places: dict[tuple[str, ...], FileLine] | None = None
) -> Project:
    config = {"name": "p", "services": services}
    return Project("p", "/p", ("/p/compose.yaml",), "cli", config, positions=places or {})


def model(name: str) -> dict[str, Any]:
    return {"image": "x", "environment": {"OLLAMA_MODEL": name}}


OLLAMA = {"image": "ollama/ollama:latest", "environment": {"OLLAMA_MODEL": "phi"}}
MODELS: list[tuple[dict[str, Any] | None, dict[str, str], str | None, str]] = [
    (None, {}, None, "OLLAMA_MODEL is not set"),
    (None, {"OLLAMA_MODEL": "phi"}, "phi", "OLLAMA_MODEL of the environment"),
    ({}, {"OLLAMA_MODEL": " phi "}, "phi", "OLLAMA_MODEL of the environment"),
    ({"ai": OLLAMA}, {"OLLAMA_MODEL": "x"}, "phi", "OLLAMA_MODEL of ai"),
    ({"ai": OLLAMA, "api": model("gemma:2b")}, {}, "gemma:2b", "OLLAMA_MODEL of api; ai has phi"),
    ({"ai": OLLAMA, "api": model("Phi:latest")}, {}, "Phi:latest", "OLLAMA_MODEL of api"),
    ({"b": model("b"), "a": model("a")}, {}, "b", "OLLAMA_MODEL of b; a has a"),
    ({"ai": OLLAMA, "api": model("")}, {}, "phi", "OLLAMA_MODEL of ai"),
    ({"api": {"environment": {"OLLAMA_MODEL": None}}}, {}, None, "OLLAMA_MODEL is not set"),
    ({"api": {"image": "x"}}, {"OLLAMA_MODEL": "phi"}, "phi", "OLLAMA_MODEL of the environment"),
]  # fmt: skip


@pytest.mark.parametrize(("services", "environ", "name", "source"), MODELS)
def test_the_configured_model_is_what_asks_for_it(
    services: dict[str, Any] | None, environ: dict[str, str], name: str | None, source: str
) -> None:
    given = None if services is None else project(services)
    found, where = find_configured_model(given, environ)
    where = where.text.removeprefix("/p/compose.yaml; ") if isinstance(where, Source) else where
    assert (found, where) == (name, source)


@pytest.mark.parametrize("name", ["x" * 201, "a\nb", "\x1b[2J"])
def test_what_is_no_name_is_no_model(name: str) -> None:
    found, _ = find_configured_model(project({"api": model(name)}), {})
    assert isinstance(found, Unknown)
    assert found.reason.isprintable()


@pytest.mark.parametrize(
    ("config", "runs_it"),
    [
        ({}, True),
        ({"command": ["serve"]}, True),
        ({"command": "pull phi"}, False),
        ({"entrypoint": ["/bin/sh", "-c"], "command": ["sleep 5; ollama pull phi"]}, False),
        ({"entrypoint": ["sh", "-c", "ollama serve & sleep 5; ollama pull phi; wait"]}, True),
        ({"entrypoint": ["/start.sh"]}, True),
    ],
)
def test_a_container_that_only_pulls_a_model_is_not_ollama(
    config: dict[str, Any], runs_it: bool
) -> None:
    services = {"init": {"image": "ollama/ollama:0.13", **config}}
    assert (
        bool(find_ollama_services(Project("p", "/p", (), "cli", {"services": services}))) is runs_it
    )


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("phi", "phi:latest"),
        ("Phi:Latest", "phi:latest"),
        ("registry.ollama.ai/library/phi", "phi:latest"),
        ("library/phi:2b", "phi:2b"),
        ("someone/phi", "someone/phi:latest"),
        ("host:5000/someone/phi", "host:5000/someone/phi:latest"),
        ("hf.co/someone/phi:Q4", "hf.co/someone/phi:q4"),
        (" mistral:7b-instruct-q4_0 ", "mistral:7b-instruct-q4_0"),
    ],
)
def test_names_are_compared_in_full(name: str, same: str) -> None:
    assert normalize_model_name(name) == same


# --- the estimate ---


def test_the_kv_cache_of_a_token() -> None:
    assert (
        compute_kv_cache_bytes_per_token(MISTRAL) == 128 * 1024
    )  # 2 bytes x K and V x 32 layers x 8 heads x 128
    assert (
        compute_kv_cache_bytes_per_token(GEMMA) == 18 * 1024
    )  # 2 bytes x K and V x 18 layers x 1 head x 256


def test_the_estimate_is_its_parts() -> None:
    need, source = estimate_model_memory(4_100_000_000, 131072, {})
    assert need == 4_100_000_000 + 131072 * 4096 + 2**29
    assert source.startswith("an estimate: weights 4.1 GB + KV cache 512 MiB + 0.5 GiB")
    several = {"OLLAMA_CONTEXT_LENGTH": "8192", "OLLAMA_NUM_PARALLEL": "4"}
    assert (
        estimate_model_memory(4_100_000_000, 131072, several)[0]
        == 4_100_000_000 + 131072 * 32768 + 2**29
    )
    beyond = {"OLLAMA_CONTEXT_LENGTH": "18446744073709551615"}
    assert isinstance(estimate_model_memory(1, 131072, beyond)[0], Unknown)


@pytest.mark.parametrize("key", MISTRAL)
@pytest.mark.parametrize("value", [None, 0, -1, 1.5, True, "32", [8], {}, 2**62, 10**30])
def test_a_shape_that_lacks_a_figure_is_not_guessed(key: str, value: Any) -> None:
    with pytest.raises(EngineError, match="Ollama doesn't report"):
        compute_kv_cache_bytes_per_token({**MISTRAL, key: value})
    with pytest.raises(EngineError, match="Ollama doesn't report"):
        compute_kv_cache_bytes_per_token({k: v for k, v in MISTRAL.items() if k != key})


def test_more_heads_than_numbers_are_no_shape() -> None:
    with pytest.raises(EngineError, match="dimensions"):
        compute_kv_cache_bytes_per_token({**MISTRAL, "llama.embedding_length": 16})


# --- the whole ---


class FakeContext(MeasurementContext):
    """A machine whose project and engine are given."""

    def __init__(self, given: Any, url: Any = "unix:///x", timeout: float = 10) -> None:
        super().__init__(MeasurementOptions(timeout=timeout))
        self.endpoint = _given(Endpoint(url, "", "") if isinstance(url, str) else url)
        self.project = _given(given)


def _given(value: Any) -> Any:
    def give() -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return give


def facts_of(context: MeasurementContext, environ: Mapping[str, str]) -> Facts:
    return build_facts(
        completed("ollama", ollama.measure_ollama(context, environ)), measured_at="", version=""
    )


def asking(
    fake: Fake, name: str = "mistral:7b", timeout: float = 10, given: Project | None = None
) -> Facts:
    environ = {"OLLAMA_HOST": fake.url, "OLLAMA_MODEL": name}
    return facts_of(FakeContext(given, timeout=timeout), environ)


def get(facts: Facts, dotted: str) -> Any:
    return facts.get(tuple(dotted.split(".")))


def every_fact_is_told(facts: Facts) -> None:
    catalogue = FactCatalogue(FACT_DECLARATIONS_BY_SUBJECT["ollama"])
    for fact in FACT_DECLARATIONS_BY_SUBJECT["ollama"]:
        path = tuple(part for part in fact.path.split("."))
        path = path[: path.index("*")] if "*" in path else path
        assert facts.get(path) != Unknown("the facts don't include this value"), fact.path
        assert isinstance(facts.get(path), Unknown) or facts.source(path), fact.path
    for dotted in {*facts.sources, *facts.unknown}:
        assert catalogue.find(tuple(dotted.split("."))) or dotted.count('"') or "*" in dotted, (
            dotted
        )


def test_a_well_ollama() -> None:
    with serving() as fake:
        facts = asking(fake)
    assert fake.asked == ["GET /api/version", "GET /api/tags", "GET /api/ps", "POST /api/show"]
    assert get(facts, "ollama.endpoint") == fake.url
    assert get(facts, "ollama.reachable") is True
    assert get(facts, "ollama.problem") is None
    assert get(facts, "ollama.version") == "0.13.5"
    sizes = {"mistral:7b": {"size": 4_113_301_824}, "gemma:2b": {"size": 1_678_456_656}}
    assert get(facts, "ollama.models") == sizes
    held = {"mistral:7b": {"memory": 4_137_025_024, "total": 5_137_025_024}}
    assert get(facts, "ollama.loaded") == held
    assert get(facts, "model.name") == "mistral:7b"
    assert get(facts, "model.size") == 4_113_301_824
    assert get(facts, "model.resident") == 4_137_025_024
    assert get(facts, "model.estimate") == 4_113_301_824 + 2**29 + 2**29
    every_fact_is_told(facts)


def test_a_model_that_is_not_loaded_and_one_that_is_not_there() -> None:
    with serving(ps={"models": []}) as fake:
        there = asking(fake, "registry.ollama.ai/library/Gemma:2b")
    assert get(there, "ollama.loaded") == {}
    assert get(there, "model.resident") is None
    assert get(there, "model.name") == "registry.ollama.ai/library/Gemma:2b"
    assert get(there, "model.estimate") == 1_678_456_656 + 18 * 1024 * 4096 + 2**29
    with serving() as fake:
        missing = asking(fake, "phi")
    assert len(fake.asked) == 3
    assert get(missing, "model.size") is None
    assert get(missing, "model.resident") is None
    assert isinstance(get(missing, "model.estimate"), Unknown)


def test_no_configured_model_is_absent() -> None:
    with serving() as fake:
        facts = asking(fake, "")
    assert len(fake.asked) == 3
    for name in ("name", "size", "resident", "estimate"):
        assert get(facts, f"model.{name}") is None
    every_fact_is_told(facts)


def test_the_settings_of_compose_make_the_estimate() -> None:
    environment = {"OLLAMA_CONTEXT_LENGTH": "8192", "OLLAMA_KEEP_ALIVE": "5 minutes"}
    key = ("services", "ai", "environment", "OLLAMA_KEEP_ALIVE")
    with serving() as fake:
        config = service(port(str(fake.port)), environment=environment)
        given = project({"db": {"image": "x"}, "ai": config}, {key: FileLine("/p/c.yaml", 7)})
        facts = facts_of(FakeContext(given), {"OLLAMA_MODEL": "mistral:7b"})
    assert get(facts, "ollama.service") == "ai"
    assert get(facts, "ollama.endpoint") == fake.url
    assert get(facts, "model.estimate") == 4_113_301_824 + 2**30 + 2**29
    assert get(facts, "ollama.settings.ai.keep_alive") == 300
    source = facts.source(("ollama", "settings", "ai", "keep_alive"))
    assert source.startswith("in /p/c.yaml:7; OLLAMA_KEEP_ALIVE=5 minutes isn't a valid duration")
    assert get(facts, "ollama.settings.ai.ignored") == ["OLLAMA_KEEP_ALIVE=5 minutes"]
    assert list(get(facts, "ollama.settings")) == ["ai"]
    every_fact_is_told(facts)


NOT_OLLAMA = " doesn't respond like Ollama"
NOT_AS_OLLAMA = {
    "html": f"{NOT_OLLAMA}: it returned a web page",
    "half": f"{NOT_OLLAMA}: it returned invalid JSON",
    "less than promised": f"{NOT_OLLAMA}: it returned invalid JSON",
    "reset": NOT_OLLAMA, "closes": NOT_OLLAMA,
    "not found": ": GET /api/version failed with status 404 404 page not found",
    "no http": NOT_OLLAMA, "a line without end": NOT_OLLAMA,
    "a list": ": GET /api/version didn't return a JSON object",
    "nan": ": GET /api/version didn't return a JSON object",
    "deep": f"{NOT_OLLAMA}: it returned invalid JSON",
    "no text": f"{NOT_OLLAMA}: it returned invalid JSON",
    "200 MB": ": GET /api/version returned more than 32 MiB",
}  # fmt: skip


@pytest.mark.parametrize("mode", NOT_AS_OLLAMA)
def test_what_is_no_ollama(mode: str) -> None:
    with serving(bad=BAD[mode]) as fake:
        facts = asking(fake, timeout=20)
    assert fake.asked == ["GET /api/version"]
    assert get(facts, "ollama.reachable") is False
    why = f"{fake.url}{NOT_AS_OLLAMA[mode]}"
    assert get(facts, "ollama.problem") == why
    for name in ("ollama.version", "ollama.models", "ollama.loaded", "model.size",
                 "model.resident", "model.estimate"):  # fmt: skip
        assert get(facts, name).reason == why
    every_fact_is_told(facts)


@pytest.mark.parametrize(
    ("mode", "kind", "said"),
    [
        ("500", "error", ": GET /api/version failed with status 500 out of\x1b[31m order"),
        ("forbidden", "permission", ": GET /api/version failed with status 403 no"),
    ],
)
def test_an_ollama_that_answers_with_an_error(mode: str, kind: str, said: str) -> None:
    with serving(bad=BAD[mode]) as fake:
        facts = asking(fake)
    assert get(facts, "ollama.reachable") is False
    assert get(facts, "ollama.problem") == f"{fake.url}{said}"
    assert facts.unknown["ollama.models"].kind == kind


@pytest.mark.parametrize(
    "mode", ["slow", "drip", "drip in the head", "drip in chunks", "endless head"]
)
def test_the_deadline_of_an_answer_holds(mode: str) -> None:
    with serving(bad=BAD[mode]) as fake:
        start = time.monotonic()
        facts = asking(fake, timeout=0.6)
        took = time.monotonic() - start
    assert 0.25 < took < 5
    assert get(facts, "ollama.reachable") is False
    assert get(facts, "ollama.problem") == f"no answer from {fake.url} within 0.3 s"
    assert facts.unknown["ollama.models"].kind == "timeout"


@pytest.mark.parametrize(
    ("at", "known", "requests"), [("/api/tags", 0, 2), ("/api/ps", 1, 3), ("/api/show", 2, 4)]
)
def test_nothing_is_asked_after_what_failed(at: str, known: int, requests: int) -> None:
    with serving(bad=BAD["500"], at=at) as fake:
        facts = asking(fake)
    assert len(fake.asked) == requests
    assert get(facts, "ollama.reachable") is True
    assert get(facts, "ollama.version") == "0.13.5"
    lists = [get(facts, f"ollama.{name}") for name in ("models", "loaded")]
    assert [not isinstance(one, Unknown) for one in lists] == [known > 0, known > 1]
    assert (get(facts, "ollama.problem") is None) == (at == "/api/show")
    assert isinstance(get(facts, "model.estimate"), Unknown)
    every_fact_is_told(facts)


def test_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = Fake(f"http://127.0.0.1:{free.getsockname()[1]}", 0, [])
        facts = asking(gone)
    assert get(facts, "ollama.reachable") is False
    assert get(facts, "ollama.problem").startswith(f"connection refused on {gone.url}")
    assert facts.unknown["model.size"].kind == "refused"


def test_a_host_that_is_not_found() -> None:
    facts = asking(Fake("http://no-such-host.invalid:1", 1, []))
    assert get(facts, "ollama.reachable") is False
    assert facts.unknown["ollama.models"].kind in ("unavailable", "timeout")


def test_plain_http_where_tls_is_asked() -> None:
    with serving() as fake:
        facts = asking(Fake(fake.url.replace("http:", "https:"), fake.port, []), timeout=4)
    assert get(facts, "ollama.reachable") is False
    assert facts.unknown["ollama.models"].kind in ("invalid", "timeout")


def test_a_redirect_is_not_followed_and_no_proxy_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as other:
        monkeypatch.setenv("http_proxy", other.url)
        head = f"HTTP/1.1 302 Found\r\nLocation: {other.url}/api/version\r\n"
        with serving(bad=saying(f"{head}Content-Length: 0\r\n\r\n".encode())) as fake:
            facts = asking(fake)
    assert (len(fake.asked), other.asked) == (1, [])
    assert get(facts, "ollama.problem").endswith("respond like Ollama: it returned invalid JSON")


@pytest.mark.parametrize("head", ["HTTP/1.0 200 OK", "HTTP/1.1 200 OK\r\nConnection: close"])
def test_a_body_that_comes_after_its_head_is_read(head: str) -> None:
    """The server says that it ends the connection, as Go's does where that is asked for."""

    def in_pieces(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode())
        for piece in (b'{"version": ', b'"0.13.5"', b"}"):
            time.sleep(0.1)
            connection.sendall(piece)

    with serving(bad=in_pieces, at="/api/version") as fake:
        facts = asking(fake)
    assert get(facts, "ollama.version") == "0.13.5"
    assert get(facts, "ollama.problem") is None


def test_a_path_in_front_is_kept() -> None:
    with serving() as fake:
        asking(Fake(f"{fake.url}/behind", fake.port, []))
    assert fake.asked == ["GET /behind/api/version"]


ODD: list[Any] = [
    None, 3, True, "x", [], [None], [[]], [3], {}, {"models": 3}, {"models": [None, 3, "x", []]},
    {"models": [{"name": None}, {"name": 3}, {"name": ""}, {"name": "a\nb"}, {"name": "x" * 300}]},
    {"models": [{"name": [1]}, {"name": {"a": 1}}]},
    {"models": [{"name": "mistral:7b"}]},
    {"models": [{"name": "mistral:7b", "size": -1, "size_vram": -1}]},
    {"models": [{"name": "mistral:7b", "size": 10**30, "size_vram": 5}]},
    {"models": [{"name": "mistral:7b", "size": 1.5, "size_vram": "x"}]},
    {"models": [{"name": "mistral:7b", "size": True, "size_vram": None}]},
    {"models": [{"name": "\ud800"}, {"name": "a.b\"c", "size": 1}]},
    b'{"models": [{"name": "mistral:7b", "size": NaN, "size_vram": Infinity}]}',
    b'{"models": [{"name": "mistral:7b", "size": 1e999, "size_vram": 0}]}',
    b'{"models": [{"name": "mistral:7b", "size": ' + b"9" * 65_536 + b"}]}",
    b'{"models": ' + b"[" * 65_536, b'{"models": [{"name": "\\ud800"}]}',
]  # fmt: skip


@pytest.mark.parametrize("what", ["version", "tags", "ps", "shown"])
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_no_answer_is_a_crash(what: str, odd: Any) -> None:
    given = {"shown": {"mistral:7b": odd}} if what == "shown" else {what: odd}
    if what == "shown" and isinstance(odd, bytes):
        given = {"shown": {"mistral:7b": None}}
    with serving(**given) as fake:
        facts = asking(fake)
    every_fact_is_told(facts)
    json.dumps(facts.values)
    for name in ("models", "loaded"):
        assert all(key.isprintable() for key in facts.values["ollama"].get(name) or ())
    if what == "version":
        assert get(facts, "ollama.reachable") is False


@pytest.mark.parametrize("version", ["dev", "a1b2c3d"])
def test_a_build_without_a_version_is_reachable(version: str) -> None:
    with serving(version={"version": version}) as fake:
        facts = asking(fake)
    assert get(facts, "ollama.reachable") is True
    assert isinstance(get(facts, "ollama.version"), Unknown)


def test_an_empty_list_may_be_null() -> None:
    with serving(tags={"models": None}, ps={"models": None}) as fake:
        facts = asking(fake)
    assert (get(facts, "ollama.models"), get(facts, "ollama.loaded")) == ({}, {})


def test_what_is_on_a_gpu_is_no_ram() -> None:
    gpu = {"models": [{**PS["models"][0], "size_vram": PS["models"][0]["size"] + 1}]}
    with serving(ps=gpu) as fake:
        assert get(asking(fake), "model.resident") == 0
    cpu = {"models": [{**PS["models"][0], "size_vram": 0}]}
    with serving(ps=cpu) as fake:
        assert get(asking(fake), "model.resident") == PS["models"][0]["size"]


def test_models_beyond_count_are_left_out() -> None:
    many = [{"name": f"m{n}", "size": 1} for n in range(1500)]
    with serving(tags={"models": [*TAGS["models"], *many]}) as fake:
        facts = asking(fake)
    assert len(get(facts, "ollama.models")) == 1000


def test_a_service_without_a_port_is_not_reached() -> None:
    facts = facts_of(FakeContext(project({"ollama": {"build": "."}})), {})
    assert get(facts, "ollama.endpoint") is None
    assert get(facts, "ollama.reachable") is False
    assert "publishes no port" in facts.source(("ollama", "reachable"))
    assert "publishes no port" in get(facts, "ollama.problem")
    assert isinstance(get(facts, "ollama.models"), Unknown)
    every_fact_is_told(facts)


def test_on_another_host_nothing_is_asked() -> None:
    with serving() as fake:
        given = project({"ollama": service(port(str(fake.port)))})
        facts = facts_of(FakeContext(given, "tcp://192.0.2.1:2375"), {"OLLAMA_MODEL": "phi"})
    assert fake.asked == []
    for name in ("endpoint", "reachable", "problem", "version", "models", "loaded"):
        found = get(facts, f"ollama.{name}")
        assert isinstance(found, Unknown)
        assert (found.kind, "set OLLAMA_HOST" in found.reason) == ("unsupported", True)
    assert get(facts, "ollama.service") == "ollama"
    every_fact_is_told(facts)


def test_an_unusable_compose_file_hides_the_settings_not_ollama() -> None:
    broken = ComposeError("it is broken", "/p/c.yaml", 3, 1)
    with serving() as fake:
        facts = facts_of(FakeContext(broken), {"OLLAMA_HOST": fake.url, "OLLAMA_MODEL": "phi"})
    assert get(facts, "ollama.reachable") is True
    for name in ("ollama.settings", "ollama.service", "model.name", "model.size"):
        assert get(facts, name) == Unknown("/p/c.yaml:3:1: it is broken", "invalid")
    every_fact_is_told(facts)


def test_an_engine_that_nobody_can_name_is_no_other_host() -> None:
    context = FakeContext(project({"ollama": {}}), EngineError("no such context"))
    assert get(facts_of(context, {}), "ollama.reachable") is False


def test_no_thread_of_a_server_is_left() -> None:
    before = threading.active_count()
    with serving(bad=BAD["slow"]) as fake:
        asking(fake, timeout=0.2)
    ends = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < ends:
        time.sleep(0.01)
    assert threading.active_count() <= before
