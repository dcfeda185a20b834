"""What hosts are sent."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from paths import ROOT
from preflight.fleet.program_archive import (
    build_program_tar,
    build_rule_files_tar,
    build_tar,
    list_own_dependencies,
)
from preflight.model.problems import InputError


def unpack(data: bytes, folder: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder)
    return folder


def test_the_program_is_packed_alike_each_time(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("version: 1")
    packed = build_program_tar(ROOT / "rules.yaml")
    assert build_program_tar(ROOT / "rules.yaml") == packed
    assert build_program_tar(tmp_path / "other.yaml")[0] != packed[0]
    assert build_tar({"a": b"", "b": b""}) == build_tar({"b": b"", "a": b""})
    unpacked = unpack(packed[1], tmp_path)
    assert (unpacked / "preflight/rules.yaml").read_bytes() == (ROOT / "rules.yaml").read_bytes()
    assert (unpacked / "preflight/__main__.py").is_file()
    assert not list(unpacked.rglob("__pycache__"))


def test_pip_installs_the_dependencies_without_those_of_extras() -> None:
    names = list_own_dependencies()
    assert any(name.startswith("psutil") for name in names)
    assert not any("ansible" in name for name in names)


def test_rule_files_lie_to_each_other_as_here(tmp_path: Path) -> None:
    files = {"/a/rules/mine.yaml": b"mine", "/a/base.yaml": b"base"}
    unpacked = unpack(build_rule_files_tar(files, "/a/rules/mine.yaml"), tmp_path)
    assert (unpacked / "base.yaml").read_bytes() == b"base"
    assert json.loads((unpacked / "entry.yaml").read_text())["extends"] == ["./rules/mine.yaml"]
    bundled = unpack(build_rule_files_tar({"default": b""}, "default"), tmp_path / "b")
    assert json.loads((bundled / "entry.yaml").read_text())["extends"] == ["default"]


def test_a_wheelhouse(tmp_path: Path) -> None:
    rules, wheels = ROOT / "rules.yaml", tmp_path / "wheels"
    wheels.mkdir()
    with pytest.raises(InputError, match="contains no wheels; to fill it, run: pip download"):
        build_program_tar(rules, str(wheels))
    (wheels / "a-1-py3-none-any.whl").write_bytes(b"zip")
    (wheels / "a.tar.gz").write_bytes(b"gz")
    build, archive = build_program_tar(rules, str(wheels))
    assert build == build_program_tar(rules)[0]
    unpacked = unpack(archive, tmp_path / "unpacked")
    assert [file.name for file in (unpacked / "wheels").iterdir()] == ["a-1-py3-none-any.whl"]
    with pytest.raises(InputError, match="No such file"):
        build_program_tar(rules, str(tmp_path / "none"))
