"""A fleet on real sshd processes: every host's own facts, every host's own trouble.

Starting Ansible takes seconds, so that one run has all that differs; each alone is nightly.
"""

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
    "crashes": "echo 'preflight: internal error: KeyError' >&2; exit 70",
    "older": 'echo \'{"schema": "preflight.facts/99", "facts": {}}\'',
}


def answers(done: subprocess.CompletedProcess[str]) -> Any:
    """Return the hosts of the report."""
    assert done.stdout, done.stderr
    document = json.loads(done.stdout)
    assert document["summary"]["exit_code"] == done.returncode
    return document["hosts"]


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return by host its verdicts, or why there are none."""
    assert done.stdout, done.stderr
    return {
        name: [result["verdict"] for result in host["results"]]
        if "results" in host
        else host["unreachable"]
        for name, host in json.loads(done.stdout)["hosts"].items()
    }


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
    return [*Path("/tmp").glob("preflight-*.tar*"), *Path(os.environ["TMPDIR"]).iterdir()]


CFG = """\
[defaults]
no_log=True
any_errors_fatal=True
strategy=free
stdout_callback=minimal
verbosity=2
force_color=1
fact_caching=memory
pipelining=False
"""


def test_hosts_of_one_run(run_preflight: Run, farm: Farm, node: Host, tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text(CFG)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/mine.yaml").write_text(RULES)
    (tmp_path / "base.yaml").write_text(BASE)
    strict = {"size": 900, "preflight_vars": {"least": "{{ size * 10 }}TB"}}
    web = farm.start("web-page", {"PATH": fake(farm.folder / "fake-web", FAKES["garbage"])})
    hosts = {
        "../Web": {},
        "strict": strict,
        "web-page": {"ansible_port": web.port},
        # with pipelining Ansible may write to an ssh that has ended, and then lose what it said
        "closed": {"ansible_port": free_port(), "ansible_pipelining": False},
        "snakeless": {"ansible_python_interpreter": "/opt/none/python3"},
        "bad": {"preflight_path": "{{ nowhere }}"},
    }
    inventory = script(tmp_path, hosts, common(farm, node))
    done = run_preflight("fleet", "-i", inventory, "-r", "rules/mine.yaml", "--forks", "6",
                         "--save", "saved", "-f", "json", "-f", "text:text",
                         cwd=tmp_path)  # fmt: skip
    shown = verdicts(done)
    assert done.returncode == 1
    assert list(shown) == list(hosts)
    assert shown["../Web"] == ["pass", "pass", "pass"]
    assert shown["strict"] == ["pass", "fail", "pass"]
    assert shown["web-page"].startswith("its snapshot:1:1: not valid JSON")
    assert shown["closed"] == "unreachable: connection refused"
    assert shown["snakeless"].startswith("no Python at /opt/none/python3")
    assert "nowhere" in shown["bad"]
    ram = json.loads(done.stdout)["hosts"]["strict"]["results"][1]
    assert ram["expected"] == {"at_least": 9000e12}
    assert "unreachable: connection refused" in (tmp_path / "text").read_text()
    assert "sekret" not in done.stdout
    assert len(list((tmp_path / "saved").iterdir())) == 2
    judged = run_preflight("check", "--facts", "saved", "-r", "rules/mine.yaml", "-f", "json",
                           cwd=tmp_path)  # fmt: skip
    assert {str(each) for each in verdicts(judged).values()} == {str(shown["../Web"])}
    assert left_in_tmp() == []


@pytest.fixture(scope="module")
def mixed(farm: Farm, docker_engine: Engine) -> Iterator[Path]:
    """An inventory of hosts that differ: limits, an engine that is down, four that fail."""
    path = {"PATH": HERE}
    farm.start("small", path, memory=2**30)
    farm.start("narrow", path, cpus={0})
    for name in ("no-engine", "stopped", "changed", "snakeless"):
        farm.start(name, path)
    names = ("small", "narrow", "no-engine", "stopped", "changed", "snakeless")
    lines = [farm.line(name, farm.hosts[name].port) for name in names]
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
    yield file
    farm.hosts["stopped"].go_on()


@pytest.mark.nightly
def test_hosts_that_differ(run_preflight: Run, mixed: Path, tmp_path: Path) -> None:
    arguments = ("--forks", "7", "--only", "docker-reachable",
                 "--only", "process-memory", "--only", "process-cpus")  # fmt: skip
    done = run_preflight("fleet", "-i", str(mixed), *arguments, "-f", "json",
                         "-f", "text:hosts.txt", cwd=tmp_path, timeout=120)  # fmt: skip
    hosts = answers(done)
    assert done.returncode == 1
    assert list(hosts) == [
        "small", "narrow", "no-engine", "stopped", "changed", "snakeless", "closed",
    ]  # fmt: skip

    def result(host: str, rule: str) -> Any:
        (result,) = (each for each in hosts[host]["results"] if each["id"] == rule)
        return result

    assert result("small", "process-memory")["actual"] == 2**30
    assert result("narrow", "process-cpus")["actual"] == 1
    assert result("small", "docker-reachable")["verdict"] == "pass"
    down = result("no-engine", "docker-reachable")
    assert down["verdict"] == "fail"
    assert "unix:///nowhere/docker.sock" in json.dumps(down)
    assert {
        name: host.get("unreachable") for name, host in hosts.items() if "results" not in host
    } == {
        "stopped": "unreachable: timed out",
        "changed": "unreachable: host key changed",
        "snakeless": "no Python at /opt/none/python3: preflight needs 3.10 or later;"
        " see ansible_python_interpreter",
        "closed": "unreachable: connection refused",
    }
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


@pytest.mark.nightly
def test_installed_without_a_network_used_again_and_taken_away(
    run_preflight: Run, farm: Farm, bare: Host, tmp_path: Path
) -> None:
    inventory = str(farm.inventory(farm.line("bare", bare.port)))
    no_way = run_preflight("fleet", "-i", inventory, "-f", "json", timeout=120)
    assert no_way.returncode == 3
    assert "cannot install it" in answers(no_way)["bare"]["unreachable"]
    assert files(bare.home) == []

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
    assert "results" in answers(first)["bare"], first.stdout
    (place,) = (bare.home / ".cache/preflight").iterdir()
    installed_at = place.stat().st_ctime_ns
    assert files(bare.home) == []
    assert left_in_tmp() == []

    again = run_preflight("fleet", "-i", inventory, "-f", "json")
    assert "results" in answers(again)["bare"]
    assert place.stat().st_ctime_ns == installed_at

    older = place.with_name("0.9.0-0123456789ab")
    place.rename(older)
    (older.parent / ".new-1").mkdir()  # another controller is installing
    newer = run_preflight(*offline, timeout=200)
    assert "results" in answers(newer)["bare"]
    assert sorted(path.name for path in older.parent.iterdir()) == [".new-1", place.name]

    gone = run_preflight("fleet", "-i", inventory, "--remove")
    assert (gone.returncode, gone.stdout) == (0, f"bare: {bare.home}/.cache/preflight\n")
    assert files(bare.home) == []
    nothing = run_preflight("fleet", "-i", inventory, "--remove")
    assert nothing.stdout == "bare: nothing to remove\n"


@pytest.mark.nightly
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
    hosts = answers(done)
    assert done.returncode in (1, 3)
    assert hosts["garbage"]["unreachable"].startswith("its snapshot:1:1: not valid JSON")
    assert "internal error" in hosts["crashes"]["unreachable"]
    assert "preflight.facts/99" in hosts["older"]["unreachable"]
    assert "results" in hosts["honest/../../me"]
    saved = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json"))
    assert saved == ["saved/here/honest%2F..%2F..%2Fme.json"]
    judged = run_preflight("check", "--facts", "saved/here", "-f", "json", cwd=tmp_path)
    (one,) = answers(judged).values()
    assert one["results"] == hosts["honest/../../me"]["results"]


@pytest.mark.nightly
def test_a_host_that_hangs_and_one_that_sends_too_much(run_preflight: Run, farm: Farm) -> None:
    scripts = {"huge": "yes 0123456789 | head -c 90000000", "hangs": "sleep 600"}
    hosts = [
        farm.start(name, {"PATH": fake(farm.folder / f"fake-{name}", script)})
        for name, script in scripts.items()
    ]
    inventory = farm.inventory(*(farm.line(host.name, host.port) for host in hosts))
    done = run_preflight("fleet", "-i", str(inventory), "--timeout", "1", "-f", "json",
                         timeout=200)  # fmt: skip
    failures = {name: host["unreachable"] for name, host in answers(done).items()}
    assert failures["huge"].startswith(("its snapshot:", "preflight did not end"))
    assert failures["hangs"] == "preflight did not end within 21 s"


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
BASE = """\
version: 1
name: base
rules:
  - {id: token, title: '{{ x }}', fact: env.API_TOKEN, require: {exists: true}}
"""


@pytest.mark.nightly
def test_rules_of_ones_own_reach_the_host_and_groups_have_their_own_vars(
    run_preflight: Run, farm: Farm, node: Host, tmp_path: Path
) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/mine.yaml").write_text(RULES)
    (tmp_path / "base.yaml").write_text(BASE)
    lines = [farm.line(name, node.port) for name in ("one", "two", "three")]
    inventory = farm.inventory(*lines)
    with inventory.open("a") as ini:
        ini.write("[large]\ntwo\nthree\n[large:vars]\npreflight_vars={'least': '{{ 900 }}TB'}\n")

    done = run_preflight("fleet", "-i", str(inventory), "-r", "rules/mine.yaml", "-f", "json",
                         cwd=tmp_path)  # fmt: skip
    assert verdicts(done) == {
        "one": ["pass", "pass", "pass"],
        "two": ["pass", "fail", "pass"],
        "three": ["pass", "fail", "pass"],
    }


def nightly(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.nightly)


@pytest.mark.parametrize(
    ("content", "more", "error"),
    [
        ("[a\nb", (), "Ansible: cannot read the inventory "),
        ("one\n", ("-i", "two.ini"), "--inventory two.ini: No such file"),
        nightly("one\n", ("-e", "@/nowhere.yml"), "Could not find or access '/nowhere.yml'"),
        nightly("", (), "no host"),
        nightly("[empty]\n", (), "no host"),
        nightly("one\n", ("--limit", "nobody"), "no hosts"),
        ("one\n", ("--save", "/dev/null/x"), "--save /dev/null/x: Not a directory"),
        ("one\n", ("--wheelhouse", "/nowhere"), "--wheelhouse /nowhere: No such file"),
        ("one\n", ("-f", "nonsense"), "unknown format 'nonsense'"),
        ("one\n", ("--timeout", "0"), "--timeout 0"),
    ],
)
def test_invalid_inventories_are_refused(
    run_preflight: Run, tmp_path: Path, content: str, more: tuple[str, ...], error: str
) -> None:
    (tmp_path / "hosts.ini").write_text(content)
    done = run_preflight("fleet", "-i", "hosts.ini", *more, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.nightly
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
    time.sleep(4)  # the other one's answer is on its way
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


# --- inventories --------------------------------------------------------------------------------

NAMES = ("a/../../b", "..", "new\nline", "{{ 7*7 }}", 'q"u\\', "-i", "Web", "web")


def common(farm: Farm, node: Host) -> dict[str, Any]:
    """Return what every name of that one machine has in an inventory."""
    variables = dict(row.split("=", 1) for row in farm.vars())
    return {**variables, "ansible_host": "127.0.0.1", "ansible_port": node.port}


def script(folder: Path, hosts: dict[str, dict[str, Any]], all_: dict[str, Any]) -> str:
    """Write a script that is an inventory, which may name hosts as it likes; return its name."""
    dynamic = {"all": {"hosts": list(hosts), "vars": all_}, "_meta": {"hostvars": hosts}}
    (folder / "hosts.json").write_text(json.dumps(dynamic))
    (folder / "inventory").write_text('#!/bin/sh\ncat "$(dirname "$0")/hosts.json"\n')
    (folder / "inventory").chmod(0o755)
    return "./inventory"


@pytest.mark.nightly
def test_hosts_of_any_name_are_judged_and_saved_each_in_a_file_of_its_own(
    run_preflight: Run, farm: Farm, node: Host, tmp_path: Path
) -> None:
    inventory = script(tmp_path, {name: {} for name in NAMES}, common(farm, node))
    (tmp_path / "out/saved/-i.json").mkdir(parents=True)
    done = run_preflight("fleet", "-i", inventory, "--only", "process-memory", "-f", "json",
                         "--forks", "4", "--save", "out/saved", cwd=tmp_path)  # fmt: skip
    assert verdicts(done) == {name: ["pass"] for name in NAMES}
    assert done.returncode == 2
    assert done.stderr == "preflight: cannot write out/saved/-i.json: it is a folder\n"
    saved = [path.name for path in (tmp_path / "out/saved").iterdir()]
    assert len({name.lower() for name in saved}) == len(NAMES)
    assert not any(name.startswith(".") for name in saved)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["saved"]
    (tmp_path / "out/saved/-i.json").rmdir()
    again = run_preflight("check", "--facts", "out/saved", "--only", "process-memory", "-f", "json",
                          cwd=tmp_path)  # fmt: skip
    assert set(map(str, verdicts(again).values())) == {"['pass']"}
    assert json.loads(again.stdout)["summary"]["hosts"] == len(NAMES) - 1
    text = run_preflight("diff", "out/saved", "out/saved", cwd=tmp_path)
    assert text.returncode == 0


WRONG_VARS: list[dict[str, Any]] = [
    {"ansible_host": "{{ nowhere }}"},
    {"ansible_become": "{{ nowhere }}"},
    {"ansible_connection": "nonsense"},
    {"ansible_port": "abc"},
    {"preflight_path": "{{ nowhere }}"},
    {"preflight_vars": "{{ nowhere }}"},
    {"preflight_vars": {"system_overhead": "{{ nowhere }}"}},
    {"preflight_chdir": "/nowhere"},
]


@pytest.mark.nightly
def test_a_host_with_vars_that_cannot_be_used_hides_no_other(
    run_preflight: Run, farm: Farm, node: Host, tmp_path: Path
) -> None:
    hosts = {f"bad-{number}": wrong for number, wrong in enumerate(WRONG_VARS)}
    inventory = script(tmp_path, {**hosts, "good": {}}, common(farm, node))
    done = run_preflight("fleet", "-i", inventory, "--only", "process-memory", "-f", "json",
                         cwd=tmp_path, timeout=120)  # fmt: skip
    assert done.returncode == 3
    shown = verdicts(done)
    assert list(shown) == [*hosts, "good"]
    assert shown.pop("good") == ["pass"]
    for name, failure in shown.items():
        (value,) = hosts[name].values()
        assert "nowhere" in failure or str(value) in failure


@pytest.mark.nightly
def test_a_yaml_inventory_whose_thresholds_are_templates(
    run_preflight: Run, farm: Farm, node: Host, tmp_path: Path
) -> None:
    (tmp_path / "preflight.yaml").write_text(
        "version: 1\nname: mine\nvars: {least: 1kB}\nrules:\n"
        "- {id: ram, title: RAM, fact: host.memory.total, require: {at_least: '${least}'}}\n"
    )
    strict = {"size": 900, "preflight_vars": {"least": "{{ size * 10 }}TB"}}
    hosts = {"all": {"hosts": {"plain": {}, "strict": strict}, "vars": common(farm, node)}}
    (tmp_path / "hosts.yaml").write_text(json.dumps(hosts))
    done = run_preflight("fleet", "-i", "hosts.yaml", "-f", "json", cwd=tmp_path)
    assert (done.returncode, verdicts(done)) == (1, {"plain": ["pass"], "strict": ["fail"]})
    asked = json.loads(done.stdout)["hosts"]["strict"]["results"][0]["expected"]
    assert asked == {"at_least": 9000e12}


@pytest.mark.nightly
def test_whatever_ansible_cfg_says(
    run_preflight: Run, farm: Farm, node: Host, tmp_path: Path
) -> None:
    (tmp_path / "ansible.cfg").write_text(CFG)
    place = tmp_path / ("t" * 100)  # longer than the path of a socket may be
    place.mkdir()
    hosts: dict[str, dict[str, Any]] = {
        "snakeless": {"ansible_python_interpreter": "/opt/none/python3"}, "good": {},
    }  # fmt: skip
    inventory = script(tmp_path, hosts, common(farm, node))
    done = run_preflight("fleet", "-i", inventory, "--only", "process-memory", "-f", "json",
                         cwd=tmp_path, env={"TMPDIR": str(place)})  # fmt: skip
    assert list(verdicts(done)) == ["snakeless", "good"]
    assert verdicts(done)["good"] == ["pass"]
    assert verdicts(done)["snakeless"].startswith("no Python at /opt/none/python3")
