"""A fleet on real sshd processes: every host's own facts, every host's own trouble."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engines import Engine
from farm import Farm, Host, free_port
from paths import ROOT

Run = Callable[..., "subprocess.CompletedProcess[str]"]

HERE = f"{os.path.dirname(sys.executable)}:/usr/local/bin:/usr/bin:/bin"
"""A PATH on which a host has preflight of this version already."""
FAKES = {
    "garbage": "echo '<html>not found</html>'",
    "huge": "yes 0123456789 | head -c 90000000",
    "hangs": "sleep 600",
    "crashes": "echo 'preflight: a fault of preflight itself: KeyError' >&2; exit 70",
    "older": 'echo \'{"schema": "preflight.facts/99", "facts": {}}\'',
}


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.stdout, done.stderr
    document = json.loads(done.stdout)
    assert document["summary"]["exit_code"] == done.returncode
    return document["hosts"]


def fake(folder: Path, script: str) -> str:
    """Return a PATH on which something else calls itself preflight of this version."""
    folder.mkdir(parents=True)
    (folder / "preflight").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo preflight 1.0.0 && exit\n{script}\n'
    )
    (folder / "preflight").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def files(home: Path) -> list[str]:
    """What a run has left in a host's home, but the virtual environment."""
    return sorted(
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and ".cache/preflight/1" not in str(path)
    )


@pytest.fixture(autouse=True)
def own_tmp(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder for temporary files that no other run on this machine uses."""
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("t")))


def left_in_tmp() -> list[Path]:
    """What is left of a run here, and on the hosts."""
    return [*Path("/tmp").glob("preflight-*.zip*"), *Path(os.environ["TMPDIR"]).iterdir()]


@pytest.fixture(scope="module")
def twelve(farm: Farm, docker_engine: Engine) -> Iterator[tuple[Farm, Path]]:
    """Twelve hosts that differ: limits, an engine that is down, and four that can't be used."""
    path = {"PATH": HERE}
    farm.start("small", path, memory=2**30)
    farm.start("narrow", path, cpus={0})
    for name in ("plain-1", "plain-2", "plain-3", "plain-4"):
        farm.start(name, path)
    farm.start("no-engine", path)
    farm.start("stopped", path)
    farm.start("changed", path)
    farm.start("snakeless", path)
    farm.start("plain-5", path)
    lines = [farm.line(host.name, host.port) for host in farm.hosts.values()]
    lines += [farm.line("closed", free_port())]
    broken = {
        "no-engine": "preflight_docker_host=unix:///nowhere/docker.sock",
        "snakeless": "ansible_python_interpreter=/opt/none/python3",
    }
    lines = [f"{line} {broken.get(line.split()[0], '')}" for line in lines]
    file = farm.inventory(*lines)
    with file.open("a") as ini:
        ini.write(f"preflight_docker_host={docker_engine.url}\n")
    key = (farm.hosts["small"].folder / "host_key.pub").read_text().split()[1]
    known = farm.known.read_text().splitlines()
    port = f"[127.0.0.1]:{farm.hosts['changed'].port} "
    farm.known.write_text(
        "\n".join(f"{port}ssh-ed25519 {key}" if row.startswith(port) else row for row in known)
        + "\n"
    )
    farm.hosts["stopped"].stop()
    yield farm, file
    farm.hosts["stopped"].go_on()


def test_twelve_hosts(run_preflight: Run, twelve: tuple[Farm, Path], tmp_path: Path) -> None:
    _, inventory = twelve
    arguments = ("--forks", "12", "--timeout", "5", "--only", "docker-reachable",
                 "--only", "process-memory", "--only", "process-cpus")  # fmt: skip
    done = run_preflight("fleet", "-i", str(inventory), *arguments, "-f", "json",
                         "-f", "text:hosts.txt", cwd=tmp_path)  # fmt: skip
    hosts = told(done)
    assert done.returncode == 1
    assert list(hosts) == [
        "small", "narrow", "plain-1", "plain-2", "plain-3", "plain-4",
        "no-engine", "stopped", "changed", "snakeless", "plain-5", "closed",
    ]  # fmt: skip

    def result(host: str, rule: str) -> Any:
        (one,) = (one for one in hosts[host]["results"] if one["id"] == rule)
        return one

    assert result("small", "process-memory")["actual"] == 2**30
    assert result("narrow", "process-cpus")["actual"] == 1
    assert result("plain-1", "process-cpus")["actual"] == len(os.sched_getaffinity(0))
    down = result("no-engine", "docker-reachable")
    assert down["verdict"] == "fail"
    assert "unix:///nowhere/docker.sock" in json.dumps(down)
    assert {
        name: one.get("unreachable") for name, one in hosts.items() if "results" not in one
    } == {
        "stopped": "unreachable: timed out",
        "changed": "unreachable: host key changed",
        "snakeless": "no Python at /opt/none/python3: preflight needs 3.10 or later;"
        " see ansible_python_interpreter",
        "closed": "unreachable: connection refused",
    }
    for name in ("small", "plain-4"):
        assert result(name, "docker-reachable")["verdict"] == "pass"
    text = (tmp_path / "hosts.txt").read_text()
    assert "no-engine" in text
    assert "sudo systemctl" in text or "DOCKER_HOST" in text
    assert "unreachable: host key changed" in text
    assert left_in_tmp() == []


@pytest.fixture(scope="module")
def bare(farm: Farm) -> Host:
    """A host that has nothing of ours, and no index to install from."""
    env = {"PATH": "/usr/bin:/bin", "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_NO_INDEX": "0",
           "PIP_FIND_LINKS": "", "PIP_RETRIES": "0"}  # fmt: skip
    return farm.start("bare", env)


def test_installed_without_a_network_used_again_and_taken_away(
    run_preflight: Run, farm: Farm, bare: Host, tmp_path: Path
) -> None:
    inventory = str(farm.inventory(farm.line("bare", bare.port)))
    no_way = run_preflight("fleet", "-i", inventory, "-f", "json", timeout=120)
    assert no_way.returncode == 3
    assert "cannot install it" in told(no_way)["bare"]["unreachable"]
    assert files(bare.home) == [".cache/preflight/lock"]

    wheels = tmp_path / "wheels"
    subprocess.run(
        ["/usr/bin/python3", "-m", "venv", str(tmp_path / "venv")], check=True, timeout=60
    )
    subprocess.run(
        [str(tmp_path / "venv/bin/pip"), "download", "-q", "-d", str(wheels), str(ROOT)],
        check=True, timeout=300,
    )  # fmt: skip
    offline = ("fleet", "-i", inventory, "--wheelhouse", str(wheels), "-f", "json")
    first = run_preflight(*offline, timeout=200)
    assert "results" in told(first)["bare"], first.stdout
    (place,) = (bare.home / ".cache/preflight").glob("1*")
    made = (place / "preflight-is-whole").stat().st_mtime_ns
    assert files(bare.home) == [".cache/preflight/lock"]
    assert left_in_tmp() == []

    again = run_preflight("fleet", "-i", inventory, "-f", "json")
    assert "results" in told(again)["bare"]
    assert (place / "preflight-is-whole").stat().st_mtime_ns == made

    (place / "preflight-is-whole").unlink()  # as one that was cut off is
    mended = run_preflight(*offline, timeout=200)
    assert "results" in told(mended)["bare"]

    gone = run_preflight("fleet", "-i", inventory, "--remove")
    assert (gone.returncode, gone.stdout) == (0, f"bare: {bare.home}/.cache/preflight\n")
    assert files(bare.home) == []
    nothing = run_preflight("fleet", "-i", inventory, "--remove")
    assert nothing.stdout == "bare: nothing was there\n"


def test_a_host_that_lies(run_preflight: Run, farm: Farm, tmp_path: Path) -> None:
    for name, script in FAKES.items():
        farm.start(name, {"PATH": fake(farm.folder / f"fake-{name}", script)})
    other = json.dumps({"schema": "preflight.facts/1", "facts": {"host": {"hostname": "../../x"}}})
    farm.start("honest/../../me", {"PATH": fake(farm.folder / "fake-other", f"echo '{other}'")})
    names = [*FAKES, "honest/../../me"]
    inventory = farm.inventory(*(farm.line(name, farm.hosts[name].port) for name in names))
    done = run_preflight(
        "fleet", "-i", str(inventory), "--forks", "6", "--timeout", "1", "-f", "json",
        "--save", "saved/here", cwd=tmp_path,
    )  # fmt: skip
    hosts = told(done)
    assert done.returncode in (1, 3)
    assert "its snapshot: no JSON" in hosts["garbage"]["unreachable"]
    assert hosts["huge"]["unreachable"] == "its snapshot is larger than 67,108,864 bytes"
    assert hosts["hangs"]["unreachable"] == "preflight did not end within 21 s"
    assert "a fault of preflight itself" in hosts["crashes"]["unreachable"]
    assert "preflight.facts/99" in hosts["older"]["unreachable"]
    assert "results" in hosts["honest/../../me"]
    saved = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json"))
    assert saved == ["saved/here/honest%2F..%2F..%2Fme.json"]
    judged = run_preflight("check", "--facts", "saved/here", "-f", "json", cwd=tmp_path)
    (one,) = told(judged).values()
    assert one["results"] == hosts["honest/../../me"]["results"]


@pytest.fixture
def node(farm: Farm) -> Host:
    """A host with preflight and a variable, made once."""
    env = {"PATH": HERE, "REGION": "eu-1", "API_TOKEN": "sekret-1234abcd"}
    return farm.hosts.get("node") or farm.start("node", env)


RULES = """\
version: 1
name: mine
extends: [../base.yaml]
vars: {least: 1GB}
rules:
  - {id: ram, title: RAM, fact: host.memory.total, require: {at_least: "${least}"}}
  - {id: region, title: Region, fact: env.REGION, require: {equals: eu-1}}
"""


def test_rules_of_ones_own_reach_the_host_and_groups_have_their_own_vars(
    run_preflight: Run, farm: Farm, node: Host, tmp_path: Path
) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/mine.yaml").write_text(RULES)
    (tmp_path / "base.yaml").write_text(
        "version: 1\nname: base\nrules:\n"
        "  - {id: token, title: '{{ x }}', fact: env.API_TOKEN, require: {exists: true}}\n"
    )
    lines = [farm.line(name, node.port) for name in ("one", "two", "three")]
    inventory = farm.inventory(*lines)
    with inventory.open("a") as ini:
        ini.write("[large]\ntwo\nthree\n[large:vars]\npreflight_vars={'least': '{{ 900 }}TB'}\n")

    def verdicts(*more: str) -> dict[str, list[str]]:
        done = run_preflight(
            "fleet",
            "-i",
            str(inventory),
            "-r",
            "rules/mine.yaml",
            "-f",
            "json",
            *more,
            cwd=tmp_path,
        )
        return {
            name: [one["verdict"] for one in report["results"]]
            for name, report in told(done).items()
        }

    assert verdicts() == {
        "one": ["pass", "pass", "pass"],
        "two": ["pass", "fail", "pass"],
        "three": ["pass", "fail", "pass"],
    }
    assert verdicts("--set", "least=1GB")["two"] == ["pass", "pass", "pass"]
    with inventory.open("a") as ini:
        ini.write("preflight_vars={'leest': '1GB'}\n")
    wrong = run_preflight(
        "fleet", "-i", str(inventory), "-r", "rules/mine.yaml", "-f", "json", cwd=tmp_path
    )
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "preflight_vars of two, three: " in wrong.stderr
    assert "leest" in wrong.stderr


def test_whatever_ansible_reads(run_preflight: Run, farm: Farm, node: Host, tmp_path: Path) -> None:
    common = dict(row.split("=", 1) for row in farm.vars())
    hosts = {"node": {"ansible_host": "127.0.0.1", "ansible_port": node.port}}
    (tmp_path / "hosts.yaml").write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.yaml").write_text((tmp_path / "hosts.yaml").read_text())
    dynamic = {"all": {"hosts": ["node"], "vars": common}, "_meta": {"hostvars": hosts}}
    (tmp_path / "script").write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(dynamic)}\nEND\n")
    (tmp_path / "script").chmod(0o755)
    extra = json.dumps({**common, **hosts["node"]})
    for inventory in (["hosts.yaml"], ["folder"], ["./script"], ["node,", "-e", extra]):
        done = run_preflight("fleet", "-i", *inventory, "--only", "host-memory", "-f", "json",
                             cwd=tmp_path)  # fmt: skip
        assert list(told(done)) == ["node"], inventory
        assert done.returncode == 0


def test_names_that_lead_elsewhere_and_a_snapshot_that_cannot_be_saved(
    run_preflight: Run, farm: Farm, node: Host, tmp_path: Path
) -> None:
    common = dict(row.split("=", 1) for row in farm.vars())
    names = ["a\nb", "<script>x</script>", "..", "../../c", "x y", "{{ 7*7 }}", "-rf", 'q"u\\']
    hosts = {
        name: {"ansible_host": "127.0.0.1", "ansible_port": node.port, **common} for name in names
    }
    (tmp_path / "hosts.yaml").write_text(json.dumps({"all": {"hosts": hosts}}))
    (tmp_path / "saved/-rf.json").mkdir(parents=True)
    done = run_preflight(
        "fleet", "-i", "hosts.yaml", "--forks", "8", "--only", "host-memory", "-f", "json",
        "-f", "text:hosts.txt", "--save", "saved", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "preflight: cannot write saved/-rf.json: it is a folder\n"
    found = json.loads(done.stdout)["hosts"]
    assert {name for name, one in found.items() if "results" in one} == set(names)
    assert len(list((tmp_path / "saved").iterdir())) == len(names)
    outside = {path.name for path in tmp_path.iterdir()} - {"home"}
    assert outside == {"hosts.yaml", "hosts.txt", "saved"}


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        ("[a\nb", (), "Ansible: cannot read the inventory "),
        ("one\n", ("-i", "two.ini"), "--inventory two.ini: No such file"),
        ("one\n", ("-e", "@/nowhere.yml"), "Could not find or access '/nowhere.yml'"),
        ("", (), "no host"),
        ("[empty]\n", (), "no host"),
        ("one\n", ("--limit", "nobody"), "no hosts"),
        ("one\n", ("--save", "/dev/null/x"), "--save /dev/null/x: Not a directory"),
        ("one\n", ("--wheelhouse", "/nowhere"), "--wheelhouse /nowhere: No such file"),
        ("one\n", ("-f", "nonsense"), "no format 'nonsense'"),
        ("one\n", ("--timeout", "0"), "--timeout 0"),
    ],
)
def test_what_is_no_fleet(
    run_preflight: Run, tmp_path: Path, content: str, more: tuple[str, ...], said: str
) -> None:
    (tmp_path / "hosts.ini").write_text(content)
    done = run_preflight("fleet", "-i", "hosts.ini", *more, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_interrupted_it_says_what_it_has_and_ends_all_that_it_started(
    clean_environment: Path, farm: Farm, node: Host, tmp_path: Path
) -> None:
    farm.start("sleeper", {"PATH": fake(farm.folder / "fake-sleeper", "sleep 601")})
    lines = [farm.line(name, farm.hosts[name].port) for name in ("node", "sleeper")]
    inventory = farm.inventory(*lines)
    env = {**os.environ, "PREFLIGHT_TEST_RUN": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "preflight", "fleet", "-i", str(inventory), "-f", "json",
         "--only", "host-memory", "--save", "saved"],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    ends = time.monotonic() + 30
    while not _with(b"sleep\x00601") and time.monotonic() < ends:
        time.sleep(0.1)
    time.sleep(1)  # the other one's answer is on its way
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    hosts = json.loads(out)["hosts"]
    assert hosts["node"]["results"][0]["verdict"] == "pass"
    assert hosts["sleeper"] == {"unreachable": "interrupted"}
    assert errors == "preflight: interrupted: 1 of 2 hosts did not answer in time\n"
    assert [path.name for path in (tmp_path / "saved").iterdir()] == ["node.json"]
    time.sleep(0.5)
    assert _with_variable(f"PREFLIGHT_TEST_RUN={tmp_path}".encode()) == []
    assert left_in_tmp() == []


def _with(words: bytes) -> list[str]:
    return [p.name for p in Path("/proc").glob("[0-9]*") if words in _read(p / "cmdline")]


def _with_variable(row: bytes) -> list[bytes]:
    return [
        _read(p / "cmdline") for p in Path("/proc").glob("[0-9]*") if row in _read(p / "environ")
    ]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
