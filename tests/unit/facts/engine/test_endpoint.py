"""The endpoint is the one that the docker CLI would take, held against the CLI itself."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from preflight.facts.engine.api import EngineApi
from preflight.facts.engine.endpoint import EngineError, find_other_engine_sockets, resolve_endpoint

UNIX = "unix:///var/run/docker.sock"


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=30)


def write_context(home: Path, name: str, meta: object) -> Path:
    digest = hashlib.sha256(name.encode()).hexdigest()
    folder = home / ".docker/contexts/meta" / digest
    folder.mkdir(parents=True)
    text = meta if isinstance(meta, str) else json.dumps(meta)
    (folder / "meta.json").write_text(text, encoding="utf-8")
    return home / ".docker/contexts/tls" / digest / "docker"


def meta(name: str, host: object, **more: object) -> dict[str, object]:
    return {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, **more}}}


def write_config(home: Path, text: str) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker/config.json").write_text(text, encoding="utf-8")


@pytest.fixture
def home(clean_environment: Path) -> Path:
    """A home folder with the contexts `one` and `two`."""
    write_context(clean_environment, "one", meta("one", "tcp://127.0.0.1:1111"))
    write_context(clean_environment, "two", meta("two", "tcp://127.0.0.1:2222"))
    return clean_environment


ORDER = [
    ({}, None, UNIX, "default"),
    ({"DOCKER_HOST": "tcp://127.0.0.1:9"}, None, "tcp://127.0.0.1:9", "default"),
    ({"DOCKER_HOST": ""}, None, UNIX, "default"),
    ({"DOCKER_CONTEXT": "one"}, None, "tcp://127.0.0.1:1111", "one"),
    ({"DOCKER_CONTEXT": ""}, "two", "tcp://127.0.0.1:2222", "two"),
    ({"DOCKER_CONTEXT": "one"}, "two", "tcp://127.0.0.1:1111", "one"),
    ({"DOCKER_HOST": "tcp://127.0.0.1:9"}, "two", "tcp://127.0.0.1:9", "default"),
    ({"DOCKER_HOST": "tcp://[::1]:9", "DOCKER_CONTEXT": "one"}, None, "tcp://[::1]:9", "default"),
    ({"DOCKER_CONTEXT": "default"}, "two", UNIX, "default"),
    ({}, "default", UNIX, "default"),
    ({}, "", UNIX, "default"),
]  # fmt: skip


@pytest.mark.parametrize(("environ", "current", "url", "context"), ORDER)
def test_the_order_is_the_clis(
    home: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], current: str | None,
    url: str, context: str,
) -> None:  # fmt: skip
    if current is not None:
        write_config(home, json.dumps({"currentContext": current}))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    endpoint = resolve_endpoint(None, None)
    assert (endpoint.url, endpoint.context) == (url, context)
    if shutil.which("docker"):
        assert cli("context", "show").stdout.strip() == context
        inspected = json.loads(cli("context", "inspect", context).stdout)
        if not environ.get("DOCKER_HOST"):  # inspect tells of the context, not of what overrides it
            assert inspected[0]["Endpoints"]["docker"]["Host"] == url


SPELLINGS = [
    "tcp://127.0.0.1:{port}",
    "127.0.0.1:{port}",
    "localhost:{port}",
    ":{port}",
    "tcp://:{port}",
    "tcp://0.0.0.0:{port}",
    " tcp://127.0.0.1:{port} ",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_address_leads_where_it_leads_the_cli(
    home: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    asked: list[bytes] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def note_who_asks() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                asked.append(connection.recv(1000).split(b"\r\n")[0])
                connection.close()

        threading.Thread(target=note_who_asks, daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", spelling.format(port=listener.getsockname()[1]))
        if shutil.which("docker"):
            assert cli("version").returncode != 0
            assert asked
            asked.clear()
        with pytest.raises(EngineError, match="respond like a container engine"):
            EngineApi(resolve_endpoint(None, None), 5).negotiate_version()
        assert asked == [b"GET /version HTTP/1.1"]
        listener.shutdown(socket.SHUT_RDWR)


BASES = [
    ("tcp://{}/a/b", "/a/b"),
    ("tcp://{}/a/b/", "/a/b"),
    ("{}/a", "/a"),
    ("tcp://{}/", ""),
    ("tcp://{}/a b", "/a%20b"),
    ("tcp://{}/a%20b", "/a%20b"),
    ("tcp://{}/a?x=1", "/a"),
]


@pytest.mark.parametrize(("spelling", "base"), BASES)
def test_a_path_of_an_address_stands_before_every_other_as_in_the_cli(
    home: Path, monkeypatch: pytest.MonkeyPatch, spelling: str, base: str
) -> None:
    asked: list[str] = []
    answer = b'{"ApiVersion": "1.41"}'
    head = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 22\r\n\r\n"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                method, path, *_ = connection.recv(1000).decode().split()
                asked.append(path)
                connection.sendall(head + (b"" if method == "HEAD" else answer))
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("DOCKER_HOST", spelling.format(address))
        if shutil.which("docker"):
            cli("version")
            assert asked[-1] == f"{base}/v1.41/version"
            asked.clear()
        api = EngineApi(resolve_endpoint(None, None), 5)
        api.negotiate_version()
        api.get_object("/info")
        assert asked == [f"{base}/version", f"{base}/v1.41/info"]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_path_stays_where_the_port_is_left_out(home: Path) -> None:
    assert resolve_endpoint("tcp://127.0.0.1/a", None).url == "tcp://127.0.0.1:2375/a"
    assert resolve_endpoint("unix:///a/b", None).path_prefix == ""


def test_an_option_that_names_no_context_is_none(home: Path) -> None:
    assert resolve_endpoint(None, "") == resolve_endpoint(None, None)


def test_options_go_before_everything(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    assert resolve_endpoint(None, "one").url == "tcp://127.0.0.1:1111"
    assert resolve_endpoint("tcp://127.0.0.1:8", None).url == "tcp://127.0.0.1:8"


def test_contexts_made_by_the_cli_are_read(clean_environment: Path) -> None:
    if not shutil.which("docker"):
        pytest.skip("no docker CLI")
    made = cli("context", "create", "mine", "--docker", "host=tcp://127.0.0.1:4444")
    assert made.returncode == 0, made.stderr
    assert resolve_endpoint(None, "mine").url == "tcp://127.0.0.1:4444"
    assert cli("context", "use", "mine").returncode == 0
    assert resolve_endpoint(None, None).context == "mine"


def test_docker_config_names_the_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "elsewhere"
    (home / ".docker").rename(moved)
    monkeypatch.setenv("DOCKER_CONFIG", str(moved))
    assert resolve_endpoint(None, "two").url == "tcp://127.0.0.1:2222"


def test_an_unknown_context_is_an_error_that_names_the_known(home: Path) -> None:
    with pytest.raises(EngineError, match=r"'thre' \(--context\) doesn't exist.*default, one, two"):
        resolve_endpoint(None, "thre")


def test_an_unknown_context_is_an_error_of_the_cli_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "nope")
    with pytest.raises(EngineError, match="DOCKER_CONTEXT"):
        resolve_endpoint(None, None)
    if shutil.which("docker"):
        assert cli("version").returncode != 0


BROKEN: list[object] = [
    "",
    "{",
    "null",
    "[]",
    "\x00\xff",
    "[" * 100_000,
    {},
    {"Endpoints": None},
    {"Endpoints": {"docker": None}},
    {"Endpoints": {"docker": {}}},
    {"Endpoints": {"docker": "unix:///x"}},
    {"Endpoints": {"docker": {"Host": 3}}},
    {"Endpoints": {"docker": {"Host": None}}},
    {"Endpoints": {"docker": {"Host": "garbage"}}},
    {"Endpoints": {"kubernetes": {"Host": "x"}}},
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda b: str(b)[:30])
def test_broken_metadata_is_an_error_not_a_crash(clean_environment: Path, broken: object) -> None:
    write_context(clean_environment, "bad", broken)
    with pytest.raises(EngineError, match="bad"):
        resolve_endpoint(None, "bad")
    with pytest.raises(EngineError, match="available contexts: default"):
        resolve_endpoint(
            None, "other"
        )  # a broken neighbour doesn't keep the others from being named


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"currentContext": 3}', "\x00", "[" * 10**5]
)
def test_a_broken_config_counts_as_none(clean_environment: Path, text: str) -> None:
    write_config(clean_environment, text)
    assert resolve_endpoint(None, None).url == UNIX
    if shutil.which("docker"):
        assert cli("context", "show").stdout.strip() == "default"


def test_a_current_context_that_is_not_there_is_an_error_of_the_cli_too(home: Path) -> None:
    write_config(home, json.dumps({"currentContext": "gone"}))
    with pytest.raises(EngineError, match=r"'gone' \(currentContext in .*config.json\)"):
        resolve_endpoint(None, None)
    if shutil.which("docker"):
        assert cli("version").returncode != 0


def test_tls_material_of_a_context(clean_environment: Path) -> None:
    folder = write_context(clean_environment, "tls", meta("tls", "tcp://127.0.0.1:2376"))
    folder.mkdir(parents=True)
    for name in ("ca", "cert", "key"):
        (folder / f"{name}.pem").touch()
    tls = resolve_endpoint(None, "tls").tls
    assert tls is not None
    assert tls.verify
    assert tls.ca == str(folder / "ca.pem")
    assert (tls.cert, tls.key) == (str(folder / "cert.pem"), str(folder / "key.pem"))


def test_a_context_may_skip_the_check_of_the_certificate(clean_environment: Path) -> None:
    skipping = meta("loose", "tcp://127.0.0.1:2376", SkipTLSVerify=True)
    write_context(clean_environment, "loose", skipping)
    tls = resolve_endpoint(None, "loose").tls
    assert tls is not None
    assert not tls.verify


@pytest.mark.parametrize(
    ("url", "tls", "whole"),
    [
        ("tcp://127.0.0.1", "", "tcp://127.0.0.1:2375"),
        ("tcp://[::1]", "", "tcp://[::1]:2375"),
        ("tcp://127.0.0.1", "1", "tcp://127.0.0.1:2376"),
    ],
)
def test_a_port_that_is_left_out_is_dockers(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch, url: str, tls: str, whole: str
) -> None:
    monkeypatch.setenv("DOCKER_TLS", tls)
    assert resolve_endpoint(url, None).url == whole


@pytest.mark.parametrize(
    ("url", "local"),
    [
        (UNIX, True),
        ("npipe:////./pipe/docker_engine", True),
        ("tcp://127.0.0.1:2375", True),
        ("tcp://localhost:2375", True),
        ("tcp://[::1]:2375", True),
        ("tcp://0.0.0.0:2375", True),
        ("tcp://[::]:2375", True),
        ("tcp://build.example:2375", False),
        ("ssh://me@build.example", False),
    ],
)
def test_local_is_what_the_address_says(clean_environment: Path, url: str, local: bool) -> None:
    assert resolve_endpoint(url, None).is_local is local


def test_other_sockets_are_named_and_a_closed_folder_is_no_fault(
    clean_environment: Path, tmp_path: Path
) -> None:
    runtime = tmp_path / "r"
    (runtime / "podman").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(runtime / "podman/podman.sock"))
        environ = {"XDG_RUNTIME_DIR": str(runtime)}
        place = f"unix://{runtime}/podman/podman.sock"
        assert place in find_other_engine_sockets("", environ, clean_environment)
        assert place not in find_other_engine_sockets(place, environ, clean_environment)
        (tmp_path / "link").symlink_to(runtime)
        behind_a_link = f"unix://{tmp_path}/link/podman/podman.sock"
        assert place not in find_other_engine_sockets(behind_a_link, environ, clean_environment)
        (clean_environment / ".rd").mkdir()
        (clean_environment / ".rd/docker.sock").symlink_to(runtime / "podman/podman.sock")
        found = find_other_engine_sockets("", environ, clean_environment)
        assert [one for one in found if str(tmp_path) in one] == [
            f"unix://{clean_environment}/.rd/docker.sock"
        ]  # one engine is told once
    closed = clean_environment / ".docker"
    closed.mkdir()
    closed.chmod(0)
    try:
        find_other_engine_sockets("", os.environ, clean_environment)
    finally:
        closed.chmod(0o700)
