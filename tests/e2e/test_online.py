"""`--online`: registries, names and addresses are asked with it, and never without."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines import Engine, require_programs, skip_or_fail
from real_registry import running_registry

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_images_that_will_be_pulled(
    run_preflight: Run, docker_engine: Engine, tmp_path: Path
) -> None:
    with running_registry(tmp_path) as registry:
        registry.put_image("app", size=60 * 10**15)
        images = [f"{registry.address}/{name}" for name in ("app:1", "app:nope")]
        services = "".join(f"  s{i}: {{image: '{image}'}}\n" for i, image in enumerate(images))
        (tmp_path / "compose.yaml").write_text(f"services:\n{services}")

        def results(*options: str) -> list[tuple[Any, ...]]:
            arguments = ("check", "-r", "general", "--only", "online", "-f", "json", *options)
            done = run_preflight(*arguments, cwd=tmp_path, env={"DOCKER_HOST": docker_engine.url})
            keys = ("id", "item", "verdict")
            return [
                tuple(one.get(key) for key in keys) for one in json.loads(done.stdout)["results"]
            ]

        assert results("--online") == [
            ("image-exists", images[0], "pass"),
            ("image-exists", images[1], "fail"),
            ("image-exists-for-platform", None, "skip"),
            ("image-fits-disk", images[0], "fail"),
        ]
    assert {verdict for _, _, verdict in results()} == {"skip"}, "nothing is asked"
    assert [verdict for _, _, verdict in results("--online")][:2] == ["unknown", "unknown"]


def test_it_has_no_effect_on_a_snapshot(run_preflight: Run, tmp_path: Path) -> None:
    done = run_preflight("check", "--online", "--facts", "facts.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "--online can't be used with --facts" in done.stderr


SERVER_AND_CHECKS = '''
import json, os, socket, struct, subprocess, sys, threading

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "--bind", "resolv.conf", "/etc/resolv.conf"], check=True)
A, AAAA = 1, 28
asked = []

def answer(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += query[at] + 1
    name, (kind,) = ".".join(labels).lower(), struct.unpack(">H", query[at + 1 : at + 3])
    asked.append(name)
    if name == "slow.test":
        return None
    code = {"gone.test": 3, "broken.test": 2}.get(name, 0)
    data = b""
    if (name, kind) == ("here.test", A):
        data = socket.inet_aton("127.0.0.1")
    elif (name, kind) == ("six.test", AAAA):
        data = socket.inet_pton(socket.AF_INET6, "::1")
    counts = struct.pack(">HHHHH", 0x8180 | code, 1, bool(data), 0, 0)
    head = query[:2] + counts + query[12 : at + 5]
    return head + (struct.pack(">HHHIH", 0xC00C, kind, 1, 9, len(data)) + data if data else b"")

def serve(server):
    while True:
        query, sender = server.recvfrom(512)
        if (reply := answer(query)) is not None:
            server.sendto(reply, sender)

def check(*options):
    done = subprocess.run(
        [sys.executable, "-m", "preflight", "check", "-r", "names.yaml", "-f", "json", *options],
        capture_output=True, text=True,
    )
    results = json.loads(done.stdout)["results"]
    return {one["id"]: [one["verdict"], one["evidence"]] for one in results}, list(asked)

found = {"unreachable": check("--online")}
server = socket.socket(type=socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
threading.Thread(target=serve, args=(server,), daemon=True).start()
listener = socket.create_server(("127.0.0.1", 587))
found["offline"] = check()
found["online"] = check("--online", "--timeout", "3")
print(json.dumps(found))
'''  # fmt: skip
NAMES = ("here", "six", "gone", "broken", "slow")


def test_names_and_addresses_by_a_name_server(tmp_path: Path) -> None:
    """In a network of its own, where nothing but loopback is."""
    require_programs("unshare", "ip")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    names = {f"{name}.test": f"net.resolve.{name}.test" for name in NAMES}
    ports = {f"{name}.port": f"net.connect.{name}.test.587" for name in ("here", "six", "slow")}
    rules = "".join(
        f"- {{id: {name.replace('.', '-')}, title: T, fact: {fact}, require: {{equals: true}}}}\n"
        for name, fact in (names | ports).items()
    )
    (tmp_path / "names.yaml").write_text(f"version: 1\nrules:\n{rules}")
    done = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-c", SERVER_AND_CHECKS],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )  # fmt: skip
    if "unshare" in done.stderr:
        skip_or_fail(done.stderr)
    found = json.loads(done.stdout)
    verdicts = {
        run: {name: verdict for name, (verdict, _) in results.items()}
        for run, (results, _) in found.items()
    }
    assert set(verdicts["unreachable"].values()) == {"unknown"}
    assert set(verdicts["offline"].values()) == {"skip"}
    assert found["offline"][1] == [], "no name was looked up"
    assert verdicts["online"] == {
        "here-test": "pass", "six-test": "pass", "gone-test": "fail", "broken-test": "unknown",
        "slow-test": "unknown", "here-port": "pass", "six-port": "fail", "slow-port": "unknown",
    }  # fmt: skip
    reasons = {name: reason for name, (_, reason) in found["online"][0].items()}
    assert reasons["gone-test"] == "gone.test has no address in DNS or /etc/hosts"
    assert reasons["slow-port"] == "slow.test.587 didn't answer in time"
    assert reasons["six-port"] == "::1, port 587: Connection refused"


def refuse(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_snapshot_is_judged_alike_whatever_its_hosts_are_called(
    run_preflight: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of private hosts that a rule asks for aren't redacted: the rule file has them."""
    names = ("resolve.db.corp.lan", "connect.db.corp.lan.5432")
    rules = "".join(
        f"- {{id: r{number}, title: T, fact: net.{name}, require: {{equals: true}}}}\n"
        for number, name in enumerate(names)
    )
    (tmp_path / "preflight.yaml").write_text(f"version: 1\nrules:\n{rules}")
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    done = run_preflight("facts", "--online", "-o", "facts.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "redacted" not in done.stderr
    known = json.loads((tmp_path / "facts.json").read_text())
    assert {*known["sources"], *known["unknown"]} >= {f"net.{name}" for name in names}
    done = run_preflight("check", "--facts", "facts.json", "-f", "json", cwd=tmp_path)
    assert [one["verdict"] for one in json.loads(done.stdout)["results"]] == ["fail", "fail"]
