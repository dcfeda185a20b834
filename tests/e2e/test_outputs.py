"""Reports into files: whole or not at all, none over another, none over what is read."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
RULES = """
version: 1
rules:
  - {id: memory, title: Memory, fact: host.memory.total, require: {at_least: %s}}
"""
FACTS = {
    "schema": "preflight.facts/1",
    "preflight": "1.0.0",
    "measured_at": "2026-11-23T11:00:00Z",
    "facts": {"host": {"memory": {"total": 8_000_000_000}}},
    "sources": {},
    "unknown": {},
}
CHECK = ("check", "--facts", "facts.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "facts.json").write_text(json.dumps(FACTS), encoding="utf-8")
    (tmp_path / "preflight.yaml").write_text(RULES % "9GB", encoding="utf-8")
    return tmp_path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real filesystem of 64 KiB, full but for less than a report."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("it takes root on Linux to mount one")
    point = tmp_path / "small"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", str(point)], check=True)
    try:
        (point / "filler").write_bytes(b"x" * (15 * 4096))
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


@pytest.fixture
def readonly(tmp_path: Path) -> Iterator[Path]:
    """A folder that not even root can write to."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("it takes root on Linux to mount one")
    point = tmp_path / "readonly"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def error_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    return done.stderr.splitlines()


# what can't be written


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("folder", "it is a folder"),
        ("new/", "it is a folder"),
        ("facts.json/x", "Not a directory"),
        ("a\0b", "embedded null byte"),
        ("x" * 300, "File name too long"),
        ("/proc/none/x", "No such file or directory"),
        ("pipe", "No such device or address"),  # nobody reads: it does not wait for ever
    ],
)
def test_what_can_not_be_written_is_one_line_and_the_others_are(
    file: str, message: str, folder: Path, clean_environment: Path
) -> None:
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    if "\0" in file:  # no argument can hold it, a variable neither: ask what would
        from preflight.cli.streams import write_file
        from preflight.model.problems import InputError

        with pytest.raises(InputError, match=f"^cannot write {file}: {message}$"):
            write_file(file, "x")
        return
    done = subprocess.run(
        [sys.executable, "-m", "preflight", *CHECK, "-f", f"json:{file}", "-f", "json:good.json",
         "-f", "text"],
        cwd=folder, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert error_lines(done) == [f"preflight: cannot write {file}: {message}"]
    assert json.loads((folder / "good.json").read_text())["summary"]["fail"] == 1
    assert "FAIL" in done.stdout


def test_a_full_disk_leaves_the_old_file_whole_and_no_other(
    small_disk: Path, folder: Path, run_preflight: Run
) -> None:
    many = "".join(
        f"  - {{id: m{n}, title: Memory, fact: host.memory.total, require: {{at_least: 9GB}}}}\n"
        for n in range(100)
    )
    (folder / "preflight.yaml").write_text(f"version: 1\nrules:\n{many}")
    (small_disk / "report.json").write_text("the old one")
    before = sorted(os.listdir(small_disk))
    done = run_preflight(*CHECK, "-f", f"json:{small_disk}/report.json", "-f", "json:good.json",
                         cwd=folder)  # fmt: skip
    assert done.returncode == 2
    assert error_lines(done) == [
        f"preflight: cannot write {small_disk}/report.json: No space left on device"
    ]
    assert (small_disk / "report.json").read_text() == "the old one"
    assert sorted(os.listdir(small_disk)) == before
    assert json.loads((folder / "good.json").read_text())["summary"]["fail"] == 100


@pytest.mark.parametrize("command", [("facts", "-o"), ("bundle", "--yes", "-o")], ids=" ".join)
def test_a_full_disk_takes_no_half_of_what_is_for_a_ticket(
    command: tuple[str, ...], small_disk: Path, run_preflight: Run
) -> None:
    before = sorted(os.listdir(small_disk))
    (small_disk / "filler").write_bytes(b"x" * (16 * 4096))
    done = run_preflight(*command, f"{small_disk}/ticket", "--docker-host", "unix:///nonexistent")
    assert done.returncode == 2
    assert (
        error_lines(done)[-1]
        == f"preflight: cannot write {small_disk}/ticket: No space left on device"
    )
    assert sorted(os.listdir(small_disk)) == before


def test_a_read_only_filesystem(readonly: Path, folder: Path, run_preflight: Run) -> None:
    done = run_preflight(*CHECK, "-f", f"json:{readonly}/r.json", "-f", "text:t.txt", cwd=folder)
    assert done.returncode == 2
    assert error_lines(done) == [
        f"preflight: cannot write {readonly}/r.json: Read-only file system"
    ]
    assert "FAIL" in (folder / "t.txt").read_text()


def test_a_full_standard_output_does_not_keep_files_back(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "preflight", *CHECK, "-f", "text", "-f", "json:good.json"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=folder,
        )  # fmt: skip
    assert done.returncode == 2
    assert error_lines(done) == [
        "preflight: cannot write to standard output: No space left on device"
    ]
    assert json.loads((folder / "good.json").read_text())["summary"]["fail"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_closed_standard_output_keeps_the_verdict_and_the_files(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "preflight", *CHECK, "-f", "text", "-f", "json:good.json"],
            stdout=write, stderr=subprocess.PIPE, cwd=folder,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
    assert json.loads((folder / "good.json").read_text())["summary"]["fail"] == 1


# one place for two


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (["text", "json"], "standard output is already used by another format"),
        (["text", "json:-"], "standard output is already used by another format"),
        (["text", "json:/dev/stdout"], "standard output is already used by another format"),
        (["text", "json:"], "--format json: has no file name: expected json:FILE"),
        (["text:out", "json:out"], "out is already used by another format"),
        (["text:out", "json:./sub/../out"], "./sub/../out is already used by another format"),
        (["text:real", "json:link"], "link is already used by another format"),
        (["text:real", "json:hard"], "hard is already used by another format"),
        (["json:facts.json"], "facts.json is also an input (facts.json)"),
        (["text:preflight.yaml"], "preflight.yaml is also an input (preflight.yaml)"),
    ],
)
def test_two_for_one_place_are_refused_and_nothing_is_written(
    formats: list[str], message: str, folder: Path, run_preflight: Run
) -> None:
    (folder / "sub").mkdir()
    (folder / "real").write_text("real")
    (folder / "link").symlink_to("real")
    os.link(folder / "real", folder / "hard")
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    options = [part for one in formats for part in ("-f", one)]
    done = run_preflight(*CHECK, *options, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = error_lines(done)
    assert line.endswith(message)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


# what is there already


def test_a_dash_is_standard_output(folder: Path, run_preflight: Run) -> None:
    done = run_preflight(*CHECK, "-f", "json:-", cwd=folder)
    assert json.loads(done.stdout)["summary"]["fail"] == 1
    assert not (folder / "-").exists()


def test_a_link_stays_and_what_it_leads_to_is_replaced(folder: Path, run_preflight: Run) -> None:
    (folder / "real").write_text("old")
    os.chmod(folder / "real", 0o640)
    (folder / "link").symlink_to("real")
    assert run_preflight(*CHECK, "-f", "json:link", cwd=folder).returncode == 1
    assert (folder / "link").is_symlink()
    assert json.loads((folder / "real").read_text())["summary"]["fail"] == 1
    assert stat.S_IMODE((folder / "real").stat().st_mode) == 0o640


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="needs /dev/null")
def test_a_device_stays_a_device(folder: Path, run_preflight: Run) -> None:
    assert run_preflight(*CHECK, "-f", "json:/dev/null", cwd=folder).returncode == 1
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_standard_error_takes_a_report(folder: Path, run_preflight: Run) -> None:
    done = run_preflight(*CHECK, "-f", "text", "-f", "json:/dev/stderr", cwd=folder)
    assert json.loads(done.stderr)["summary"]["fail"] == 1
    assert "FAIL" in done.stdout


def test_a_pipe_that_somebody_reads_gets_all_of_it(folder: Path, run_preflight: Run) -> None:
    os.mkfifo(folder / "pipe")
    kept = os.open(folder / "pipe", os.O_RDWR)  # so that the reader is there before the writer
    with subprocess.Popen(["cat", "pipe"], cwd=folder, stdout=subprocess.PIPE) as reader:
        assert run_preflight(*CHECK, "-f", "json:pipe", cwd=folder).returncode == 1
        assert reader.stdout is not None
        report = reader.stdout.readline()
        os.close(kept)
        report += reader.stdout.read()
    assert json.loads(report)["summary"]["fail"] == 1


# the step summary


def test_github_appends_the_markdown_to_the_step_summary(folder: Path, run_preflight: Run) -> None:
    summary = folder / "summary.md"
    summary.write_text("# before\n")
    env = {"GITHUB_STEP_SUMMARY": str(summary)}
    done = run_preflight(*CHECK, "-f", "github", "-f", "markdown:m.md", cwd=folder, env=env)
    assert done.returncode == 1
    assert "::error" in done.stdout
    text = summary.read_text()
    assert text.startswith("# before\n")
    written = (folder / "m.md").read_text()
    assert text.removeprefix("# before\n") == written
    run_preflight(*CHECK, "-f", "json", cwd=folder, env=env)
    assert summary.read_text() == text  # only github's own format does


@pytest.mark.parametrize("value", ["", None])
def test_without_a_step_summary_nothing_is_appended(
    value: str | None, folder: Path, run_preflight: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    env = {} if value is None else {"GITHUB_STEP_SUMMARY": value}
    done = run_preflight(*CHECK, "-f", "github", cwd=folder, env=env)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_unwritable_step_summary_is_reported(folder: Path, run_preflight: Run) -> None:
    env = {"GITHUB_STEP_SUMMARY": str(folder)}
    done = run_preflight(*CHECK, "-f", "github", cwd=folder, env=env)
    assert done.returncode == 2
    assert error_lines(done) == [f"preflight: cannot write {folder}: it is a folder"]
    assert "::error" in done.stdout


@pytest.mark.parametrize("name", ["##vso[task.complete]", "##[error]x", "##teamcity[x]"])
def test_standard_error_commands_no_ci_system(name: str, run_preflight: Run) -> None:
    for arguments in (["-r", name], ["--facts", name], ["--only", name], [f"--{name}"], [name]):
        done = run_preflight("check", *arguments)
        assert done.returncode == 2
        assert name.partition("[")[0] + "[" not in done.stdout + done.stderr
        assert name.strip("#") in done.stderr
