"""The projects of ../shared/cases/start whose build is refused: what Docker 20.10 says of each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builds import build, measure
from engines import IMAGE, Engine
from paths import SHARED

START = SHARED / "cases/start"
KIND_BY_CASE = {
    "build-context-missing": "context",
    "buildkit-unreached-stage": "syntax",
    "copy-outside-context": "outside",
    "copy-source-ignored": "ignored",
    "copy-source-missing": "missing",
    "dockerfile-missing": "dockerfile",
    "dockerfile-syntax": "syntax",
}


@pytest.mark.skipif(not START.exists(), reason="../shared isn't here")
@pytest.mark.parametrize("builder", ["buildkit", "classic"])
def test_each_refused_build_in_the_words_of_the_builder(
    builder: str, docker_engine: Engine, tmp_path: Path
) -> None:
    docker_engine.docker("tag", IMAGE, "busybox:local")
    for case, kind in KIND_BY_CASE.items():
        shutil.copytree(START / case, tmp_path / case)
        measured = measure(tmp_path / case / "compose.yaml", docker_engine.url, builder)
        assert measured["required"].value is True
        assert measured["kinds"].value == [kind], case
        answer = build(tmp_path / case / "compose.yaml", docker_engine, builder)
        words = measured["error"].value.removeprefix("failed to read dockerfile: open ")
        assert words in answer, case
    docker_engine.docker("rmi", "busybox:local")
