"""Redaction: what is hidden, what must stay readable, and that it settles after one pass."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paths import ROOT
from preflight import check as pipeline
from preflight.cli.redacting import build_redactor, redact_facts_keeping_verdicts
from preflight.cli.streams import read_rule_file
from preflight.evaluate.judge import judge_rules
from preflight.model.facts import Facts, Measured, Source, Unknown, build_facts, split_fact_path
from preflight.model.rules import BUNDLED_FILE_BY_SET, DEFAULT_RULE_SET, RuleSet
from preflight.model.secret_names import find_secret_kind_of_name
from preflight.snapshot.facts_file import format_snapshot, read_snapshot
from preflight.snapshot.redact import Redactor
from preflight.snapshot.secret_finder import SECRET_PLACEHOLDER_PATTERN

CASES = sorted(path.parent for path in ROOT.glob("tests/cases/*/facts.json"))

TOKENS = {
    "AWS": "AKIA" + "IOSFODNN7EXAMPLE",
    "Google": "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "Azure": "abc8Q~" + "abcdefghijklmnopqrstuvwxyz0123456",
    "GitHub": "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "GitHub, fine": "github_pat_" + "11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz",
    "GitLab": "glpat-" + "aBcDeFgHiJkLmNoPqRsT",
    "Slack": "xoxb-" + "123456789012-abcdefABCDEF",
    "Stripe": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "OpenAI": "sk-" + "abcdefghijklmnopqrstT3BlbkFJ0123456789",
    "Anthropic": "sk-ant-api03-" + "abcdefghijklmnopqrstuvwxyz",
    "Hugging Face": "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567",
    "npm": "npm_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
    "PyPI": "pypi-" + "AgEIcHlwaS5vcmcCJGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3",
    "Docker Hub": "dckr_pat_" + "abcdefghijklmnopqrstuvwx",
    "Vault": "hvs." + "CAESIabcdefghijklmnopqrst",
    "SendGrid": "SG." + "abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz",
    "Telegram": "123456789:AA" + "abcdefghijklmnopqrstuvwxyz0123456",
    "JWT": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r",
}
SECRET = "Geheim" + "Planted9"
CONTEXTS = [
    "password={}",
    'PASSWORD: "{}"',
    '{{"db_password": "{}", "port": 1}}',
    '"env": "{{\\"API_KEY\\": \\"{}\\"}}"',
    "DB_PASS={} LOG=1",
    "--client-secret {}",
    "--password={}",
    "redis-server --requirepass {}",
    "Authorization: Bearer {}",
    "authorization=Basic {}",
    "X-Api-Key: {}",
    "postgres://app:{}@db:5432/x",
    "amqp://:{}@queue",
    "https://{}@git.example/x.git",
    "Server=db;User Id=sa;Password={};Encrypt=true",
    "mysqldump -h db -uroot -p{} x",
    "curl -u 'joe:{}' http://api",
    "ALTER USER app IDENTIFIED BY '{}'",
    "the password is {} and more",
    "Set-Cookie: {}; Path=/",
    "//registry.npmjs.org/:_authToken={}",
    "https://x.blob.example/y?sv=1&sig={}00000000",
    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\\n{}\\n-----END OPENSSH PRIVATE KEY-----",
    "-----BEGIN EC PRIVATE KEY-----\n{}",
    "https://hooks.slack.com/services/T0/B0/{}",
]
PLAIN = [
    "2026-11-23T10:00:00Z level=INFO msg=\"loading model\" tokens=4096 max_tokens=2048",
    "llama_model_loader: - kv 13: tokenizer.ggml.bos_token_id u32 = 1",
    "key not found key=general.alignment default=32",
    "model requires more system memory (5.7 GiB) than is available (2.8 GiB)",
    "Killed process 1234 (ollama) total-vm:8388608kB, anon-rss:4194304kB",
    "GET /api/generate 200 http://localhost:11434/x?a=b@c vm.overcommit_memory=1",
    "image nginx@sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    "user@1000.service: Main process exited, code=killed, status=9/KILL",
    "Basic Authentication is not enabled; bearer authentication failed",
    "invalid token found; unauthorized: authentication required",
    "TOKENIZERS_PARALLELISM=false OLLAMA_KEEP_ALIVE=5m PYTHONUNBUFFERED=1",
    "pull registry.ollama.ai/library/mistral:7b-instruct-q4_0",
    "http://host.docker.internal:11434 docker.local /run/user/1000 /root/.ollama C:\\Windows",
    "in docker-compose.yml:12; OLLAMA_NUM_PARALLEL=1",
]  # fmt: skip


def made(**environment: str) -> Redactor:
    redactor = Redactor(shown=("OLLAMA_MODEL",), public=("ollama", "docker.local", "memory"))
    for name, value in environment.items():
        redactor.learn_variable(name, value)
    return redactor


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_is_found_by_its_shape_wherever_it_stands(name: str) -> None:
    token = TOKENS[name]
    for text in (token, f"x {token}.", f'"{token}"', f"a={token}&b", f"https://{token}@host/x"):
        assert token not in made().redact_text(text)
        assert made().find_remaining_secrets("x.log", text.encode()), (
            "what is not redacted is found"
        )


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_secret_is_found_by_what_stands_around_it(context: str) -> None:
    redactor = made()
    text = f"before {context.format(SECRET)} after"
    clean = redactor.redact_text(text)
    assert SECRET not in clean
    assert SECRET_PLACEHOLDER_PATTERN.search(clean)
    assert clean.startswith("before ")
    assert redactor.redact_text(clean) == clean
    assert redactor.find_remaining_secrets("x.log", clean.encode()) == []
    (first, *_) = made().find_remaining_secrets("x.log", f"fine\n{text}".encode())
    assert first.startswith("x.log:2 ")


@pytest.mark.parametrize("line", PLAIN)
def test_a_log_without_secrets_stays_as_it_is(line: str) -> None:
    assert made().redact_text(line) == line
    assert made().find_remaining_secrets("x.log", line.encode()) == []


def test_the_same_secret_has_the_same_placeholder_everywhere() -> None:
    redactor = made(DB_PASSWORD=SECRET)
    first = redactor.redact_text(f"login with {SECRET} failed")
    second = redactor.redact_text(f"password={SECRET}; again {SECRET}!")
    assert first == "login with <password-1> failed"
    assert second == "password=<password-1>; again <password-1>!"
    assert redactor.redact_text("password=another-0ne") == "password=<password-2>"


def test_what_a_text_teaches_holds_for_those_before_it() -> None:
    redactor = made()
    log = f"tried {SECRET}\nnow password={SECRET}\n"
    assert (
        redactor.redact_text(redactor.redact_text(log))
        == "tried <password-1>\nnow password=<password-1>\n"
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [("DB_PASSWORD", "password"), ("PGPASSWORD", "password"), ("mysqlPass", "password"),
     ("HF_TOKEN", "token"), ("HFTOKEN", "token"), ("apiKey", "key"), ("GPG_KEY", "key"),
     ("AWS_ACCESS_KEY_ID", "key"), ("CLIENT_SECRET", "secret"), ("SENTRY_DSN", "secret"),
     ("BASIC_AUTH", "secret"), ("DBPASS", "password"), ("MONKEY", None),
     ("ConnectionString", "secret"), ("AWSACCESSKEYID", "secret"),
     ("OLDPWD", None), ("TOKENIZERS_PARALLELISM", None), ("MAX_TOKENS", None),
     ("OLLAMA_KEEP_ALIVE", None), ("PWD", None), ("PATH", None), ("PASSENGER_PORT", None),
     ("DB_PASSWORD_FILE", None), ("AUTH_TYPE", None), ("JWT_SECRET_NAME", None)],
)  # fmt: skip
def test_which_names_look_like_secrets(name: str, kind: str | None) -> None:
    assert find_secret_kind_of_name(name) == kind


def test_values_of_variables() -> None:
    redactor = made()

    def redacted(name: str, value: str) -> str:
        facts = redactor.redact_facts(Facts({"env": {name: value}}))
        return str(facts.values["env"][name])

    assert redacted("OLLAMA_MODEL", "phi:latest") == "phi:latest"
    assert redacted("LOG_LEVEL", "debug") == "<value-1>"
    assert redacted("DB_PASSWORD", "debug") == "<value-1>", "one value, one placeholder"
    assert redacted("DB_PASSWORD", "") == ""
    assert redacted("DB_PASSWORD", "<password-7>") == "<password-7>"
    assert redactor.redact_text("level debug") == "level debug", (
        "a word of everybody's is no secret"
    )


def test_a_word_is_a_secret_only_as_a_password() -> None:
    redactor = made(SMTP_AUTH="optional", DB_PASSWORD="sesame", LICENSE="x7k2")
    text = "optional sesame opensesame x7k2 x7k22"
    assert redactor.redact_text(text) == "optional <password-1> opensesame <secret-1> x7k22"


def test_host_and_user_at_word_boundaries_alone() -> None:
    redactor = made()
    for name in ("bldhost7", "ollama", "10.0.0.5"):
        redactor.add_name("host", name)
    redactor.add_name("user", "carol")
    text = "bldhost7 BLDHOST7. bldhost7-api-1 bldhost77 mybldhost7 ollama 10.0.0.5 carol caroline"
    assert redactor.redact_text(text) == (
        "<host-1> <host-1>. <host-1>-api-1 bldhost77 mybldhost7 ollama 10.0.0.5 <user-1> caroline"
    )


@pytest.mark.parametrize(
    "path", ["/home/{}/x", "/Users/{}/x", "C:\\Users\\{}\\x", "C:\\\\Users\\\\{}\\\\x",
             "/mnt/c/Users/{}/x", "file:///home/{}", "in /home/{}/compose.yaml:12"],
)  # fmt: skip
def test_the_user_of_a_home_path(path: str) -> None:
    assert made().redact_text(path.format("c.smith-2")) == path.format("<user-1>")


def test_placeholders_of_before_are_not_given_away_again() -> None:
    redactor = made()
    redactor.reserve_placeholders("password=<password-3>")
    assert redactor.redact_text(f"password={SECRET}") == "password=<password-4>"


# --- settling, and cost -----------------------------------------------------------------------

PIECES = st.sampled_from(
    [*TOKENS.values(), *(one.format(SECRET) for one in CONTEXTS), *PLAIN, SECRET, " ", "\n", "=",
     ":", '"', "'", "@", "//", "<", ">", "\\", "token=", "/home/", "é", "\x00", "a@b.co"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=8).map("".join))
def test_a_redacted_text_is_clean_and_stays_as_it_is(text: str) -> None:
    redactor = made(DB_PASSWORD=SECRET)
    clean = redactor.redact_text(redactor.redact_text(text))
    assert SECRET not in clean
    for token in TOKENS.values():
        assert f" {token} " not in f" {clean} "
    again = redactor.redact_text(clean)
    assert redactor.redact_text(again) == again


@given(st.text(max_size=300))
def test_any_text_is_redacted_without_a_fault(text: str) -> None:
    made(DB_PASSWORD=text[:20], HOST=text[20:60]).redact_text(text)


@pytest.mark.parametrize(
    "piece",
    ["A_B=", "token:", "a.", "--password ", "://a:b@", "a@b.", "x", "secret: [", "login -p "],
)
def test_a_hostile_line_takes_time_in_step_with_its_length(piece: str) -> None:
    began = time.process_time()
    made().redact_text("\n".join([piece * (2**15 // len(piece))] * 2))
    assert time.process_time() - began < 1


def test_many_services_with_secrets_are_redacted_in_seconds() -> None:
    services = {f"s{i}": {"environment": {"DB_PASSWORD": f"s3cret-{i}-xyz"}} for i in range(300)}
    redactor, facts = made(), Facts({"compose": {"services": services}})
    began = time.process_time()
    clean = redactor.redact_facts(redactor.redact_facts(facts))
    assert time.process_time() - began < 5  # compiling the patterns for each secret took minutes
    assert "s3cret" not in json.dumps(clean.values)


def test_a_line_of_two_megabytes_takes_no_time_and_is_replaced_whole() -> None:
    began = time.process_time()
    clean = made().redact_text("before\n" + "password=x1y2z3 a.b@c " * 100_000 + "\nafter")
    assert time.process_time() - began < 1
    assert clean == "before\n<line-1>\nafter"


@pytest.mark.parametrize(
    "text",
    ["/Users/ann/Users/bob/Users/cyd/Users/dan", "/home/a/home/b:/home/c" * 9,
     "C:\\Users\\a\\Users\\b", "a.local/b.lan//c@d.e@f.g@h.i", "token=token=token=" + SECRET],
)  # fmt: skip
def test_redaction_reaches_a_fixed_point_at_once(text: str) -> None:
    redactor = made()
    clean = redactor.redact_text(text)
    assert redactor.redact_text(clean) == clean
    facts = redactor.redact_facts(Facts({"compose": {"files": [text]}}))
    assert redactor.find_remaining_secrets("facts.json", json.dumps(facts.values).encode()) == []


def test_a_line_that_never_settles_is_replaced_whole() -> None:
    class Unsettled(Redactor):
        def _redact_once(self, text: str) -> str:
            return text.replace("x", "xx")

    assert Unsettled().redact_text("a\nx\nb") == "a\n<line-1>\nb"


# --- configurations ---------------------------------------------------------------------------

SHOWN = {
    "name": "shop",
    "services": {
        "auth": {
            "image": "redis:7", "restart": "always", "cpus": 0.5, "mem_limit": "1073741824",
            "ports": [{"target": 80, "published": "8080", "protocol": "tcp"}],
            "deploy": {"replicas": 2, "resources": {"limits": {"memory": "1073741824"}}},
            "volumes": [{"type": "bind", "source": "/srv/data", "target": "/data"}],
            "healthcheck": {"interval": "5s", "retries": 3},
            "logging": {"driver": "json-file", "options": {"max-size": "1m"}},
            "environment": {"OLLAMA_MODEL": "phi:latest"},
        }
    },
    "secrets": {"db": {"name": "shop_db", "file": "/srv/db.txt"}},
}  # fmt: skip


def test_harmless_places_of_a_configuration_are_shown() -> None:
    assert made().redact_config(SHOWN) == SHOWN


@pytest.mark.parametrize(
    "service",
    [
        {"command": ["redis-server", "--requirepass", "sesame"]},
        {"entrypoint": ["sh", "-c", "mysqladmin -psesame"]},
        {"healthcheck": {"test": ["CMD", "redis-cli", "-a", "sesame", "ping"]}},
        {"labels": {"note": "sesame"}},
        {"environment": {"NOTE": "sesame", "API_KEYS": "sesame"}},
        {"build": {"args": {"note": "sesame"}, "context": "."}},
        {"image": "joe:sesame@registry.example/app"},
        {"logging": {"driver": "splunk", "options": {"splunk-token": "sesame"}}},
        {"hostname": "sesame", "domainname": "sesame.example", "dns": ["sesame"]},
        {"extra_hosts": ["sesame=10.0.0.5"], "dns_search": ["sesame.example"]},
        {"x-notes": {"credentials": [{"deep": ["sesame"]}]}},
        {"volumes": [{"type": "volume", "volume": {"labels": {"a": "sesame"}}}]},
        {"deploy": {"labels": {"a": "sesame"}, "placement": {"constraints": ["sesame"]}}},
        {"annotations": {"a": "sesame"}, "user": "sesame", "working_dir": "/sesame"},
    ],
    ids=lambda service: next(iter(service)),
)
def test_everything_else_in_a_configuration_is_hidden(service: dict[str, Any]) -> None:
    redactor = made()
    clean = redactor.redact_config({"services": {"api": service}})
    assert "sesame" not in json.dumps(clean)
    assert clean["services"]["api"].keys() == service.keys()


def test_numbers_are_hidden_too_and_booleans_are_not() -> None:
    service = {"x-pins": {"pin": 123456}, "labels": {"tier": 4711}, "init": True, "x-on": False}
    clean = made().redact_config({"services": {"api": service}})["services"]["api"]
    assert clean == {"x-pins": {"pin": "<password-1>"}, "labels": {"tier": "<value-1>"},
                     "init": True, "x-on": False}  # fmt: skip


@pytest.mark.parametrize(
    ("service", "log"),
    [
        ({"hostname": "db7host"}, "on db7host now"),
        ({"extra_hosts": ["ldap.customer.example=10.0.0.5"]}, "at ldap.customer.example:389"),
        ({"command": ["redis-server", "--requirepass", "S3same-Open"]}, "with S3same-Open"),
        ({"healthcheck": {"test": ["CMD", "mysqladmin", "ping", "-pS3same-Open"]}}, "S3same-Open"),
    ],
)
def test_what_a_configuration_shows_to_be_secret_is_hidden_in_logs(
    service: dict[str, Any], log: str
) -> None:
    redactor = made()
    redactor.redact_config({"services": {"api": service}})
    assert redactor.redact_text(log) != log


@pytest.mark.parametrize("value", ["S3same", ["S3same"], {"a": ["S3same", 12345678]}])
def test_everything_under_a_secret_name_in_facts_is_hidden(value: Any) -> None:
    clean = made().redact_facts(Facts({"other": {"db_credentials": value}}))
    assert not {"S3same", "12345678"} & set(re.findall(r"\w+", json.dumps(clean.values)))


# --- snapshots --------------------------------------------------------------------------------


def bundled() -> RuleSet:
    def read(path: str) -> bytes:
        return read_rule_file(path) if path in BUNDLED_FILE_BY_SET else Path(path).read_bytes()

    return pipeline.load_ruleset(DEFAULT_RULE_SET, read)


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_redacted_snapshot_gets_the_verdicts_of_the_machine(folder: Path) -> None:
    rules = bundled()
    facts = read_snapshot((folder / "facts.json").read_bytes(), "facts.json")
    facts = pipeline.add_derived_facts(facts, rules)
    redactor = build_redactor(rules, facts)
    clean, undecided = redact_facts_keeping_verdicts(redactor, rules, facts)
    assert undecided == []
    names = pipeline.build_catalogue()
    verdicts = [
        [(r.id, r.verdict) for r in judge_rules(rules, one, names).results]
        for one in (facts, clean)
    ]
    assert verdicts[0] == verdicts[1]
    written = format_snapshot(clean)
    assert read_snapshot(written.encode(), "x") == clean
    assert redactor.find_remaining_secrets("facts.json", written.encode()) == []


def judged_of(rule: str, value: str) -> tuple[list[str], Facts]:
    text = f"version: 1\nname: x\nrules:\n- {{id: one, title: One, fact: env.API_KEY, {rule}}}\n"
    rules = pipeline.load_ruleset("x.yaml", lambda _: text.encode())
    facts = build_facts(
        [Measured(("env", "API_KEY"), value, "the environment")],
        measured_at="2026-11-23T11:00:00Z", version="1.0.0",
    )  # fmt: skip
    clean, undecided = redact_facts_keeping_verdicts(build_redactor(rules, facts), rules, facts)
    return undecided, clean


def test_a_rule_that_asks_whether_a_secret_is_there_is_answered() -> None:
    undecided, clean = judged_of("require: {exists: true}", SECRET)
    assert undecided == []
    assert clean.get(("env", "API_KEY")) == "<key-1>"


def test_a_rule_that_asks_what_a_secret_is_stays_undecided() -> None:
    undecided, clean = judged_of('require: {matches: "^Geheim"}', SECRET)
    assert undecided == ["one"]
    why = clean.get(("env", "API_KEY"))
    assert isinstance(why, Unknown)
    assert "redacted" in why.reason
    assert SECRET not in format_snapshot(clean)


def test_reasons_sources_and_names_are_redacted_too() -> None:
    measured = [
        Measured(("compose", "problem"), f"cannot reach postgres://a:{SECRET}@db", "x"),
        Measured(("stack", "containers", f"api-{TOKENS['GitHub']}", "state"), "running", "list"),
        Measured(("docker", "version"), Unknown(f"password={SECRET} refused")),
        Measured(
            ("compose", "files"), ["/home/carol/a.yaml"], Source.in_file("/home/carol/a.yaml", 3)
        ),
    ]
    facts = build_facts(measured, measured_at="2026-11-23T11:00:00Z", version="1.0.0")
    rules = bundled()
    clean, _ = redact_facts_keeping_verdicts(build_redactor(rules, facts), rules, facts)
    text = format_snapshot(clean)
    for secret in (SECRET, TOKENS["GitHub"], "carol"):
        assert secret not in text
    assert clean.source(("compose", "files")) == "in /home/<user-2>/a.yaml:3"
    assert clean.find_file_line(("compose", "files")) == ("/home/<user-2>/a.yaml", 3)
    assert clean.get(("stack", "containers", "api-<token-1>", "state")) == "running"


def test_nodes_of_a_swarm_are_hosts_and_their_labels_may_hold_anything() -> None:
    top = ("docker", "swarm")
    names = ("db7.customer.example", "twin9 (abc)", "twin9 (def)")
    labels = {"zone": "eu-Customer7", "join_token": SECRET}
    measured = [Measured(("compose", "services", "api", "image"), "x", "list")]
    measured += [Measured((*top, "nodes", name, "role"), "worker", "GET /nodes") for name in names]
    measured += [
        *(Measured((*top, "nodes", names[0], "labels", k), v, "x") for k, v in labels.items()),
        Measured((*top, "nodes", names[0], "memory"), Unknown("db7.customer.example is dumb")),
        Measured((*top, "services", "api", "nodes"), list(names), "in compose.yaml:3"),
        Measured((*top, "services", "api", "reason"), f"no room on {', '.join(names[:3])}", "x"),
    ]
    facts = build_facts(measured, measured_at="2026-11-23T11:00:00Z", version="1.0.0")
    rules = bundled()
    clean, undecided = redact_facts_keeping_verdicts(build_redactor(rules, facts), rules, facts)
    text = format_snapshot(clean)
    for secret in ("db7", "customer", "twin9", "Customer7", SECRET):
        assert secret not in text
    assert undecided == []
    nodes = clean.get((*top, "nodes"))
    assert len(nodes) == len(names)
    assert set(nodes) == set(clean.get((*top, "services", "api", "nodes")))
    (path,) = [path for path in clean.unknown if "swarm.nodes" in path]
    assert isinstance(clean.get(split_fact_path(path)), Unknown)


# --- the finished file ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", json.dumps({"x": {"y": [f"say {SECRET}"]}})),
        ("a.json", json.dumps({SECRET: 1})),
        ("a.json", json.dumps({"x": f"password={'Other' + SECRET}"})),
        ("a.html", f"<p title='{SECRET}'>"),
        ("a.html", "<p>postgres://joe:&quot;Pw9&quot;@db</p><p>mail joe@customer.example</p>"),
        ("a.log", f"fine\nfine\n{TOKENS['AWS']}"),
        ("a.log", "fine\nfine\nU0VDUkVUIHg6R2VoZWltUGxhbnRlZDk="),
    ],
)
def test_what_is_left_in_a_finished_file_is_told_by_its_place_alone(name: str, data: str) -> None:
    found = made(DB_PASSWORD=SECRET).find_remaining_secrets(name, data.encode())
    assert found
    assert all(line.startswith(f"{name}:") and SECRET not in line for line in found)
    if name == "a.log":
        assert found[0].startswith("a.log:3 ")


def test_a_name_with_a_colon_is_no_secret_in_a_json_file() -> None:
    data = {"sources": {"env.API_KEY": "the environment"}, "facts": {"env": {"API_KEY": "<key-1>"}}}
    assert (made().find_remaining_secrets("facts.json", json.dumps(data).encode())) == []
