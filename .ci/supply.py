"""What is shipped: builds give the same bytes, install, and run; the lowest dependencies will do.

    python .ci/supply.py

Run in a checkout, with nothing installed beside Python; the oldest Python here that the metadata
allows tries the lowest versions of the dependencies that it allows.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MADE = (
    ".venv*",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    ".coverage*",
    "build",
    "dist",
    "mutants",
)
LEFT_OUT = shutil.ignore_patterns(".git", *MADE)
SNAPSHOT = ROOT / "tests/cases/linux-healthy/facts.json"
TESTS = [
    "tests/unit/model",
    "tests/unit/rules",
    "tests/unit/evaluate",
    "tests/unit/snapshot",
    "tests/unit/render/test_golden.py",
]
OLDEST = (3, 10)


def run(*command: object, **options: object) -> str:
    """Run a command to its end; its output tells where it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}")
    return str(done.stdout)


def environment(folder: Path, *packages: object, python: str = sys.executable) -> Path:
    """Make a virtual environment with these packages; return its programs."""
    run(python, "-m", "venv", folder)
    run(folder / "bin/pip", "install", "--quiet", *packages)
    return folder / "bin"


def built(tools: Path, folder: Path, umask: int, zone: str) -> dict[str, bytes]:
    """Build from a copy of the checkout, at another place, time zone and umask."""
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    for path in folder.rglob("*"):
        os.utime(path, (umask * 10**6, umask * 10**6))
    before = os.umask(umask)
    try:
        run(tools / "python", "-m", "build", cwd=folder, env={**os.environ, "TZ": zone})
    finally:
        os.umask(before)
    return {file.name: file.read_bytes() for file in sorted((folder / "dist").iterdir())}


def same_bytes(folder: Path) -> list[Path]:
    """Build twice and compare; return the wheel and the sdist."""
    tools = environment(folder / "tools", "build")
    one = built(tools, folder / "one/preflight", 0o022, "UTC")
    two = built(tools, folder / "another-place/x", 0o027, "Asia/Tokyo")
    wheel = zipfile.ZipFile(next(folder.glob("one/preflight/dist/*.whl")))
    if "preflight/rulesets/general.precompiled" not in wheel.namelist():
        sys.exit("the wheel has no precompiled rule sets: see .ci/build_hook.py")
    for name, data in one.items():
        told = hashlib.sha256(data).hexdigest()
        if two.get(name) != data:
            sys.exit(f"{name} is not the same when it is built again")
        print(f"{told}  {name}, twice the same")
    return [folder / "one/preflight/dist" / name for name in one]


def installs(folder: Path, artifacts: list[Path]) -> None:
    """Install each, and let it judge a snapshot: the same report from both."""
    reports = set()
    for number, artifact in enumerate(artifacts):
        programs = environment(folder / f"installed-{number}", artifact)
        report = run(programs / "preflight", "check", "--facts", SNAPSHOT, "-f", "json", cwd=folder)
        reports.add(re.sub(r'"seconds": [0-9.]+', "", report))
        print(f"{artifact.name} installs and judges: {len(report):,} bytes of report")
    if len(reports) != 1:
        sys.exit("what is installed from the wheel and from the sdist judges differently")


def lowest(folder: Path) -> None:
    """Run the tests that need no engine with the lowest versions that the metadata allows."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"\ndependencies = \[\n(.*?)\n\]", text, re.DOTALL)
    assert listed is not None
    bounds = re.findall(r'"([\w-]+)>=([\w.]+)', listed[1])
    constraints = folder / "lowest.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in bounds))
    python = next(filter(None, map(_python, range(OLDEST[1], 20))), sys.executable)
    programs = environment(folder / "lowest", "-c", constraints, f"{ROOT}[test]", python=python)
    told = run(
        programs / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, cwd=ROOT
    )
    version = run(python, "--version").strip()
    print(f"{version}, {' '.join(f'{n} {v}' for n, v in bounds)}: {told.strip().splitlines()[-1]}")


def _python(minor: int) -> str | None:
    """Return a Python of this version that works, of the path or of pyenv."""
    of_pyenv = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))
    for found in (shutil.which(f"python3.{minor}"), *of_pyenv):
        done = found and subprocess.run([found, "-c", ""], check=False, capture_output=True)
        if done and done.returncode == 0:
            return str(found)
    return None


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="supply-") as name:
        folder = Path(name)
        installs(folder, same_bytes(folder))
        lowest(folder)


if __name__ == "__main__":
    main()
