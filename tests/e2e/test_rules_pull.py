"""`rules pull`: a rule file of a repository on disk, and its lock, which other commands respect."""

from __future__ import annotations

import json
import os
import shlex
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from engine_server import make_certificates
from preflight.cli import pull
from preflight.cli.pull import RuleFileAddress, parse_rule_file_address
from preflight.model.problems import InputError

Run = Callable[..., "subprocess.CompletedProcess[str]"]

RULES = "version: 1\nname: acme\nrules:\n- {id: ram, title: RAM, fact: host.memory.total, %s}\n"
FIRST, SECOND = (RULES % f"require: {{at_least: {size}B}}" for size in (1, 2))


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder: Path, files: Mapping[str, str], tag: str) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", tag)
    git(folder, "tag", "-a", "-m", tag, tag)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two tags, and a home without settings."""
    (tmp_path / "home").mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    folder = tmp_path / "acme"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(folder, {"rules.yaml": FIRST, "preflight.yaml": "{", "sets/db.yaml": SECOND}, "v1")
    commit(folder, {"rules.yaml": SECOND}, "v2")
    return folder


@pytest.fixture
def project(repository: Path) -> Path:
    folder = repository.parent / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def pulled(run_preflight: Run, project: Path) -> Callable[..., str]:
    """Return a function that pulls, and returns what is said: on success standard output."""

    def run(*arguments: str, code: int = 0) -> str:
        done = run_preflight("rules", "pull", *arguments, cwd=project)
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout

    return run


def test_the_lock_says_what_was_fetched(
    pulled: Callable[..., str], project: Path, repository: Path
) -> None:
    text = pulled(f"git::file://{repository}@v1")
    head = git(repository, "rev-parse", "v1^{commit}")
    assert text == (
        f"Wrote preflight.yaml, 1 rule: rules.yaml of file://{repository} at v1, commit"
        f" {head[:12]}.\nWrote preflight.yaml.lock. Commit both files.\n"
    )
    assert (project / "preflight.yaml").read_text() == FIRST
    assert json.loads((project / "preflight.yaml.lock").read_text()) == {
        "schema": "preflight.lock/1",
        "address": f"file://{repository}",
        "path": "rules.yaml",
        "ref": "v1",
        "commit": head,
        "sha256": sha256(FIRST.encode()).hexdigest(),
    }


@pytest.mark.parametrize("where", ["{0}", "file://{0}", "../acme"])
def test_addresses_and_references(
    where: str, pulled: Callable[..., str], project: Path, repository: Path
) -> None:
    url = where.format(repository)
    first = git(repository, "rev-parse", "v1^{commit}")
    for ref, expected in (("main", SECOND), ("v1", FIRST), (first, FIRST)):
        pulled(f"{url}@{ref}", "-o", "a.yaml")
        assert (project / "a.yaml").read_text() == expected
    git(repository, "config", "uploadpack.allowFilter", "true")
    pulled(f"git::{url}//sets/db.yaml@v1", "-o", "db.yaml")
    assert (project / "db.yaml").read_text() == SECOND


def test_the_command_that_restores_a_file_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lock = {"schema": "preflight.lock/1", "address": "/my rules; ls", "path": "a.yaml"}
    lock |= {"ref": "v1", "commit": "a" * 40, "sha256": "b" * 64}
    (tmp_path / "r.yaml.lock").write_text(json.dumps(lock))
    with pytest.raises(InputError) as changed:
        pull.check_rule_file_lock("r.yaml", b"version: 1\n")
    command = str(changed.value).split("To restore it: ")[1].split(". To keep")[0]
    assert shlex.split(command)[3:] == ["git::/my rules; ls//a.yaml@v1", "-o", "r.yaml", "--force"]


def test_every_command_holds_the_file_to_its_lock_and_none_fetches(
    pulled: Callable[..., str], project: Path, repository: Path, run_preflight: Run
) -> None:
    pulled(f"git::{repository}@v1")
    programs = repository.parent / "programs"
    programs.mkdir()
    (programs / "git").write_text(f"#!/bin/sh\ntouch {programs}/ran\n")
    (programs / "git").chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}

    def check(*arguments: str, rules: str = "preflight.yaml") -> tuple[int, str]:
        done = run_preflight(*(arguments or ("check", "-q")), "-r", rules, cwd=project, env=path)
        return done.returncode, done.stderr

    assert check() == (0, "")
    (project / "own.yaml").write_text("version: 1\nextends: [preflight.yaml]\n")
    (project / "preflight.yaml").write_text(SECOND)
    for arguments in (("check",), ("rules", "list"), ("rules", "validate"), ("facts", "host.os")):
        code, error = check(*arguments)
        assert code == 2
        assert "preflight.yaml doesn't match preflight.yaml.lock" in error
    assert check(rules="own.yaml")[0] == 2, "a file that is extended, too"
    (project / "link.yaml").symlink_to("preflight.yaml")
    assert check(rules="link.yaml")[0] == 2, "and one that is read through a link"
    command = error.split("To restore it: preflight ")[1].split(". To keep")[0]
    assert run_preflight(*shlex.split(command), cwd=project).returncode == 0
    assert check()[0] == 0
    (project / "preflight.yaml").write_bytes(FIRST.replace("\n", "\r\n").encode())
    assert check()[0] == 0, "as git checks it out on Windows"
    (project / "preflight.yaml.lock").write_text("{")
    code, error = check()
    assert (code, "preflight.yaml.lock isn't a valid lock file: delete it" in error) == (
        2,
        True,
    )
    (project / "preflight.yaml.lock").unlink()
    assert check()[0] == 0
    assert not (programs / "ran").exists()


def test_a_file_that_could_not_be_written_whole_is_not_held_to_nothing(
    pulled: Callable[..., str], project: Path, repository: Path, run_preflight: Run
) -> None:
    pulled(f"git::{repository}@v1")
    (project / "preflight.yaml.lock").unlink()
    (project / "preflight.yaml.lock").mkdir()  # neither file can be written where one can't
    assert "cannot write preflight.yaml.lock" in pulled(f"git::{repository}@v2", "--force", code=2)
    assert (project / "preflight.yaml").read_text() == FIRST


def test_a_file_that_was_changed_is_kept(
    pulled: Callable[..., str], project: Path, repository: Path
) -> None:
    file = project / "preflight.yaml"
    file.write_text("# my own\n")
    assert "exists but wasn't pulled; use --force to replace it" in pulled(
        f"{repository}@v1", code=2
    )
    assert file.read_text() == "# my own\n"
    pulled(f"{repository}@v1", "--force")
    pulled(f"{repository}@v2")
    assert file.read_text() == SECOND, "what was pulled is replaced without more ado"
    file.write_text(SECOND + "# changed\n")
    assert "has changed since it was pulled" in pulled(f"{repository}@v1", code=2)
    assert file.read_text() == SECOND + "# changed\n"
    file.write_text(FIRST)
    pulled(f"{repository}@v1")  # it is the same already
    assert json.loads((project / "preflight.yaml.lock").read_text())["ref"] == "v1"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("{0}@v9", "git: couldn't find remote ref v9"),
        ("{0}/none@v1", "does not appear to be a git repository"),
        ("{0}//none.yaml@v1", "at v1 has no none.yaml"),
        ("{0}//sets@v1", "is a folder"),
        ("{0}//link.yaml@v3", "is a symbolic link, not a file"),
        ("{0}//folder/passwd@v3", "at v3 has no folder/passwd"),
        (
            "{0}@v4",
            "at v4 has no rules.yaml or preflight.yaml: specify the file, as in git::URL//PATH",
        ),
        ("{0}//preflight.yaml@v1", "preflight.yaml:2:1: while parsing"),
        ("{0}//large.yaml@v3", "at v3 is larger than 16 MiB"),
        ("https://127.0.0.1:1/a@v1", "git: unable to access 'https://127.0.0.1:1/a/'"),
    ],
)
def test_what_cannot_be_used_leaves_nothing(
    address: str, reason: str, pulled: Callable[..., str], project: Path, repository: Path
) -> None:
    (repository / "link.yaml").symlink_to("/etc/hosts")
    (repository / "folder").symlink_to("/etc")
    commit(repository, {"large.yaml": FIRST + "#" * pull.MAX_RULE_FILE_BYTES}, "v3")
    (repository / "rules.yaml").unlink()
    (repository / "preflight.yaml").unlink()
    commit(repository, {"a": ""}, "v4")
    assert reason in pulled(address.format(repository), code=2)
    assert list(project.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/a", "git::https://example.com/a@", "https://example.com/a@-v", "a@v1",
        "https://example.com/a@v1..v2", "https://example.com/a//../b@v1", "ext::sh -c x@v1",
        "http://example.com/a@v1", "git://example.com/a@v1", "--upload-pack=x@v1", "-x@v1",
        "git::--upload-pack=x@v1", "ssh://-oProxyCommand=x/a@v1", "-oProxyCommand=x@h:a@v1",
        "https://user:secret@example.com/a@v1", "https://secret@example.com/a@v1",
        "git@-oProxyCommand=x:a@v1", "https://example.com/a\n@v1", "file://host/a@v1",
    ],
)  # fmt: skip
def test_addresses_that_are_refused(address: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_rule_file_address(address)
    assert "isn't a valid address: expected git::URL@REF" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("git::https://h.example/a/b.git//x/y.yaml@v1",
         RuleFileAddress("https://h.example/a/b.git", "x/y.yaml", "v1")),
        ("ssh://git@h.example:22/a@b/x", RuleFileAddress("ssh://git@h.example:22/a", "", "b/x")),
        ("git@h.example:a/b//r.yaml@v1+2", RuleFileAddress("git@h.example:a/b", "r.yaml", "v1+2")),
        ("git::file:///a b@c/d@v1", RuleFileAddress("file:///a b@c/d", "", "v1")),
        ("https://[::1]:8443/a@v1", RuleFileAddress("https://[::1]:8443/a", "", "v1")),
    ],
)  # fmt: skip
def test_addresses(address: str, expected: RuleFileAddress) -> None:
    assert parse_rule_file_address(address) == expected


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_nothing_of_the_settings_runs_or_asks(
    pulled: Callable[..., str], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks, other transports and programs that ask for passwords are left alone."""
    home = repository.parent / "home"
    ran = home / "ran"
    for hook in ("reference-transaction", "post-checkout", "post-merge"):
        script(home / "hooks" / hook, f"touch {ran}")
    asking = script(home / "ask", f"touch {ran}; echo x")
    (home / ".gitconfig").write_text(
        f"[core]\nhooksPath = {home}/hooks\naskPass = {asking}\n"
        f'[url "ext::sh -c touch% {ran}"]\ninsteadOf = https://moved.example/\n'
        "[protocol]\nallow = always\n"
    )
    monkeypatch.setenv("SSH_ASKPASS", str(asking))
    monkeypatch.setenv("GIT_DIR", str(home))  # as in a hook of git
    pulled(f"{repository}@v1")
    assert "transport 'ext' not allowed" in pulled("https://moved.example/a@v1", code=2)
    assert not ran.exists()


class AsksForPassword(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="a"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_wants_a_password_is_refused_one(
    pulled: Callable[..., str], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = repository.parent / "home"
    make_certificates(home)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "cert.pem", home / "key.pem")
    server = HTTPServer(("127.0.0.1", 0), AsksForPassword)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asking = script(home / "ask", f"touch {home}/asked; echo x")
    (home / ".gitconfig").write_text(
        f"[core]\naskPass = {asking}\n[http]\n"
        f"curloptResolve = elsewhere:{server.server_port}:127.0.0.1\n"
    )
    monkeypatch.setenv("GIT_SSL_CAINFO", f"{home}/ca.pem")
    for name in ("SSH_ASKPASS", "GIT_ASKPASS"):
        monkeypatch.setenv(name, str(asking))
    try:
        text = pulled(f"https://elsewhere:{server.server_port}/a@v1", code=2)
    finally:
        server.shutdown()
        server.server_close()
    assert "could not read Username" in text
    assert "terminal prompts disabled" in text
    assert not (home / "asked").exists()


def test_ssh_never_prompts(
    pulled: Callable[..., str], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = repository.parent / "seen"
    ssh = script(repository.parent / "programs" / "ssh", f'echo "$@" > {seen}; exit 255')
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    pulled("git@h.example:a@v1", code=2)
    assert "-oBatchMode=yes" in seen.read_text()
    seen.unlink()
    git(repository, "config", "--global", "core.sshCommand", f"{ssh} -i key")
    pulled("git@h.example:a@v1", code=2)
    assert seen.read_text().startswith("-i key -oBatchMode=yes")


def test_what_hangs_is_ended_with_all_it_started(
    pulled: Callable[..., str], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = repository.parent / "pid"
    ssh = script(repository.parent / "programs" / "ssh", f"echo $$ > {pid_file}; exec sleep 60")
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    started = time.monotonic()
    text = pulled("git@h.example:a@v1", "--timeout", "1.5", code=2)
    assert text == "preflight: Git didn't finish within 1.5 s\n"
    assert time.monotonic() - started < 10
    pid = int(pid_file.read_text())
    for _ in range(50):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("ssh is left running")


def test_a_server_that_never_answers(pulled: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"https://127.0.0.1:{server.getsockname()[1]}/a@v1"
        assert "didn't finish within 1 s" in pulled(address, "--timeout", "1", code=2)


def test_a_large_repository_is_given_up(
    pulled: Callable[..., str], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "noise").write_bytes(os.urandom(300_000))
    commit(repository, {}, "v3")
    monkeypatch.setattr(pull, "_MAX_GIT_FETCH_BYTES", 2**17)
    assert "the repository is larger than" in pulled(f"file://{repository}@v3", code=2)
    git(repository, "config", "uploadpack.allowFilter", "true")
    pulled(f"file://{repository}@v3")  # what isn't asked for isn't sent


def test_submodules_are_not_fetched(
    pulled: Callable[..., str], project: Path, repository: Path
) -> None:
    (repository / ".gitmodules").write_text(
        '[submodule "s"]\npath = s\nurl = https://127.0.0.1:1/none\n'
    )
    head = git(repository, "rev-parse", "HEAD")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{head},s")
    git(repository, "commit", "-q", "-m", "s")
    pulled(f"{repository}@main")
    assert "s of " in pulled(f"{repository}//s@main", "-o", "s", code=2)
