"""A bundle from a stranger: read where it is one, refused in a line where it plays tricks."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import struct
import subprocess
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paths import ROOT
from preflight.model.facts import MAX_BUNDLE_BYTES
from preflight.model.problems import InputError
from preflight.snapshot.bundle import BundleMember, build_bundle, read_bundle
from preflight.snapshot.facts_file import read_snapshot

Run = Callable[..., "subprocess.CompletedProcess[str]"]

FACTS = (ROOT / "tests/cases/linux-healthy/facts.json").read_bytes()
REPORT = (ROOT / "tests/golden/report.json").read_bytes()
MEMBERS = (
    BundleMember("facts.json", "what was measured", FACTS),
    BundleMember("report.json", "the report", REPORT),
    BundleMember("logs/api.log", "a log", b"one\ntwo\n"),
    BundleMember("logs/ollama.log", "a log", b""),
)
GOOD = build_bundle(
    MEMBERS, "1.0.0", "2026-11-23T11:00:00Z", {"password": 2}, ["the log of db: gone"]
)


def refusal(data: bytes) -> str:
    """Return the one line of whatever refuses it: when it is opened, or what is in it read."""
    with pytest.raises(InputError) as refused:
        read_all(data)
    (problem,) = refused.value.problems
    assert str(problem).startswith(("t.zip: not a bundle: ", "t.zip:manifest.json:")), problem
    assert "\n" not in str(problem)
    assert len(str(problem)) < 300
    return str(problem)


def read_all(data: bytes) -> None:
    read_bundle(data, "t.zip")


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes], manifest: bool = True) -> bytes:
    """Make a zip file by other code than the program's, with a manifest that is right."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        if manifest:
            archive.writestr("manifest.json", json.dumps(listing(*members)))
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def listing(*members: tuple[str | zipfile.ZipInfo, bytes]) -> dict[str, Any]:
    return {
        "schema": "preflight.bundle/1",
        "files": [
            {
                "name": name if isinstance(name, str) else name.filename,
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            for name, data in members
        ],
    }


# --- there and back ---------------------------------------------------------------------------


def test_what_is_written_is_read_by_others_and_by_us() -> None:
    assert read_snapshot(GOOD, "t.zip") == read_snapshot(FACTS, "x")
    members = read_bundle(GOOD, "t.zip")
    del members["manifest.json"]
    assert members == {member.name: member.data for member in MEMBERS}
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        assert archive.namelist()[0] == "manifest.json"
        assert {stat.S_IMODE(one.external_attr >> 16) for one in archive.infolist()} == {0o600}
    assert manifest["placeholders"] == {"password": 2}
    assert manifest["missing"] == ["the log of db: gone"]


def test_the_same_members_make_the_same_bytes() -> None:
    again = build_bundle(
        MEMBERS, "1.0.0", "2026-11-23T11:00:00Z", {"password": 2}, ["the log of db: gone"]
    )
    assert again == GOOD


def test_one_made_by_other_tools_is_read() -> None:
    read_all(zipped(*((member.name, member.data) for member in MEMBERS)))


# --- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_cut_off(share: float) -> None:
    refusal(GOOD[: int(len(GOOD) * share)])


@pytest.mark.parametrize("data", [b"PK", b"PK\x03\x04", b"PKzz"])
def test_not_a_zip_file(data: bytes) -> None:
    assert "not a bundle: File is not a zip file" in refusal(data)


@pytest.mark.parametrize("data", [GOOD + b"x" * 9, b"PK\x03\x04" + b"\0" * 100 + GOOD])
def test_what_is_appended_or_put_in_front_changes_no_member(data: bytes) -> None:
    assert read_bundle(data, "t.zip") == read_bundle(GOOD, "t.zip")


def test_an_offset_of_zip64_as_large_as_can_be() -> None:
    record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 46, 2**64 - 1)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(GOOD) - 22, 1)
    refusal(GOOD[:-22] + record + locator + GOOD[-22:])


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_harmless(at: int, by: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= by
    try:
        members = read_bundle(bytes(data), "t.zip")
        del members["manifest.json"]
        assert members == {member.name: member.data for member in MEMBERS}
    except InputError as refused:
        (problem,) = refused.problems
        assert "\n" not in str(problem)


@given(st.binary(max_size=300))
def test_nothing_but_a_refusal_comes_of_anything_else(data: bytes) -> None:
    refusal(b"PK" + data)


# --- names and kinds --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../evil", "logs/../../evil", "/etc/passwd", "\\\\host\\share", "..\\evil", "C:\\evil",
     "C:evil", "logs\\a.log", "a//b", "./a", "a/./b", "a/", "logs/", " a", ".hidden", "-rf",
     "a\nb", "\x1b[31m", "é", "x" * 300, "a/b/c/d/e", "con:", "a\u202eb", ""],
    ids=ascii,
)  # fmt: skip
def test_names_that_lead_elsewhere(name: str) -> None:
    member = zipfile.ZipInfo("placeholder")
    member.filename = name
    assert "isn't a valid member name" in refusal(zipped(("facts.json", FACTS), (member, b"x")))


def test_a_name_that_ends_early() -> None:
    data = zipped(("facts.json", FACTS), ("logs/aXb.log", b"x"))
    assert "isn't a valid member name" in refusal(data.replace(b"logs/aXb.log", b"logs/a\0b.log"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["facts.json", "FACTS.json"])
def test_two_of_one_name(name: str) -> None:
    data = zipped(("facts.json", FACTS), (name, FACTS))
    assert "two of its members have the same name" in refusal(data)


def test_encrypted() -> None:
    data = bytearray(zipped(("facts.json", FACTS)))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + offset] |= 1
    assert "is encrypted" in refusal(bytes(data))


def test_packed_in_another_way() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("facts.json", FACTS)
    assert "unsupported compression" in refusal(out.getvalue())


# --- sizes ------------------------------------------------------------------------------------


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    tracemalloc.start()
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("facts.json", "w") as member,
    ):
        for _ in range(300):
            member.write(b"\0" * 2**20)
    data = out.getvalue()
    assert len(data) < 2**20
    tracemalloc.reset_peak()
    assert "larger than 256 MiB" in refusal(data)
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


def test_a_size_that_lies() -> None:
    """A member that unpacks to more than it says gives no more than that, and is refused."""
    members = ("facts.json", FACTS), ("report.json", REPORT), ("logs/a.log", b"\0" * 5_000_000)
    data = bytearray(zipped(*members))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.rfind(signature)
        assert struct.unpack_from("<L", data, at + offset)[0] == 5_000_000
        struct.pack_into("<L", data, at + offset, 100)
    assert "logs/a.log" in refusal(bytes(data))


def test_too_many_members() -> None:
    members = [(f"logs/{n}.log", b"") for n in range(1001)]
    assert "more than 1000 members" in refusal(zipped(*members))


def test_larger_than_a_bundle_is() -> None:
    assert "larger than 64 MiB" in refusal(b"PK\x03\x04" + b" " * MAX_BUNDLE_BYTES)


# --- the manifest -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"null", b"{}", b'{"schema": 1}', b'{"schema": "preflight.facts/1"}',
     b'{"schema": "preflight.bundle/1"}', b'{"schema": "preflight.bundle/1", "files": 3}',
     b'{"schema": "preflight.bundle/1", "files": [3]}', b"[" * 100_000, b'{"a": NaN}',
     b'{"schema": "preflight.bundle/1", "files": [{"name": [], "bytes": 1, "sha256": ""}]}'],
    ids=lambda data: ascii(data[:40]),
)  # fmt: skip
def test_manifests_that_are_none(manifest: bytes) -> None:
    members = (("manifest.json", manifest), ("facts.json", FACTS))
    refusal(zipped(*members, manifest=False))


def test_without_a_manifest_and_without_facts() -> None:
    assert "manifest.json is missing" in refusal(zipped(("facts.json", FACTS), manifest=False))
    refusal(zipped(manifest=False))
    with pytest.raises(InputError, match=r"t\.zip: the bundle has no facts\.json"):
        read_snapshot(zipped(("logs/a.log", b"")), "t.zip")


def test_a_newer_program_made_it() -> None:
    newer = json.dumps({"schema": "preflight.bundle/2"}).encode()
    with pytest.raises(InputError, match=r"preflight\.bundle/2 is newer"):
        read_all(zipped(("manifest.json", newer), manifest=False))


@pytest.mark.parametrize("change", ["name", "bytes", "sha256", "more", "less"])
def test_a_manifest_that_does_not_fit(change: str) -> None:
    listed = listing(("facts.json", FACTS), ("report.json", REPORT), ("logs/a.log", b"x"))
    entry = listed["files"][2]
    if change == "more":
        listed["files"].append({**entry, "name": "logs/b.log"})
    elif change == "less":
        listed["files"].pop()
    else:
        entry[change] = {"name": "logs/c.log", "bytes": 2, "sha256": "0" * 64}[change]
    members = (("manifest.json", json.dumps(listed).encode()), ("facts.json", FACTS),
               ("report.json", REPORT), ("logs/a.log", b"x"))  # fmt: skip
    said = refusal(zipped(*members, manifest=False))
    assert "manifest.json" in said
    assert "logs/" in said


# --- through the program ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [GOOD[: len(GOOD) // 2], zipped(("../x", b"")), zipped(("facts.json", b"{}")),
     zipped(("facts.json", b'{"schema": "preflight.facts/1", "facts": {"a": 1e400}}')),
     zipped(("facts.json", b'{"a":' * 10_000)), b"PK\x05\x06" + b"\0" * 18],
    ids=["cut", "escape", "no schema", "1e400", "deep", "empty"],
)  # fmt: skip
def test_every_command_refuses_it_in_a_line_and_writes_nothing(
    run_preflight: Run, tmp_path: Path, data: bytes
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "t.zip").write_bytes(data)
    for command in (["check"], ["facts"], ["models"], ["explain", "host-memory"]):
        done = run_preflight(*command, "--facts", "t.zip", cwd=folder)
        assert (done.returncode, done.stdout) == (2, ""), command
        assert done.stderr.count("\n") == 1
        assert "t.zip" in done.stderr
    done = run_preflight("diff", "t.zip", "t.zip", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert [one.name for one in folder.iterdir()] == ["t.zip"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["home", "in"]


def test_on_standard_input(run_preflight: Run, tmp_path: Path) -> None:
    (tmp_path / "t.zip").write_bytes(GOOD)
    piped = ("sh", "-c", f'"$@" < {tmp_path}/t.zip', "sh")
    done = run_preflight("check", "--facts", "-", prefix=piped)
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout
