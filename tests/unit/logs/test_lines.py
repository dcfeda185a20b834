"""Errors that a pasted text only quotes: a manual's, or those of a patch."""

from __future__ import annotations

import pytest

from preflight.logs.lines import blank_quoted_lines, is_quoted_error

ERROR = "mkdir /data: no space left on device"


def kept(text: str) -> str:
    return b"\n".join(blank_quoted_lines(text.encode().split(b"\n"))).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"## Full disks\n\nIf the engine prints this:\n\n    {ERROR}\n\nremove old images.",
        f"When the disk is full, builds end with:\n```\nstep 3\n\n{ERROR}\n```\nPrune then.",
        f"Wenn dieser Fehler erscheint:\n{ERROR}",
        f"Retries, because of flaky issues like\n{ERROR}",
        f"{ERROR}\n\nThis error means that the volume has no room.",
        f"```\n{ERROR}\n```\nTo fix it, prune.",
        f"You may see an error similar to the following:\n\n    {ERROR}",
        f"## Problem\n{ERROR}\n\n## 4 solutions\nPrune.",
        f"**Symptome:**\n- {ERROR}",
        f'SAMPLE = """\n{ERROR}\n"""\n',
        f"@@ -1,2 +1,2 @@ def test():\n-{ERROR}\n+{ERROR}!",
    ],
)
def test_an_error_in_a_manual_or_a_patch_is_left_out(text: str) -> None:
    assert ERROR not in kept(text)


@pytest.mark.parametrize(
    "text",
    [
        f"I run compose and get this error:\n\n{ERROR}",
        f"When I start the project:\n\n{ERROR}",
        f"### Actual behavior\n```\n{ERROR}\n```\nThe file `compose.yaml` is unchanged.",
        f"{ERROR}\n\nThis happens every time.",
        f"{ERROR}\n\nRun 'docker run --help' for more information.",
        f"If you see the hint below:\n\nstep 3\n\n{ERROR}",
        f"{ERROR}\nThis error means that the volume has no room.",
        f"@@ -1 +1 @@\n-a\n+b\nerror: {ERROR}",
    ],
)
def test_an_error_beside_a_quotation_is_kept(text: str) -> None:
    assert ERROR in kept(text)


@pytest.mark.parametrize(("text", "quoted"), [("„{}“", True), ("«a» {}", False), ("‘{}’", True)])
def test_an_error_in_typographic_quotes_is_quoted(text: str, quoted: bool) -> None:
    line = text.format(ERROR).encode()
    start = line.index(ERROR.encode())
    assert is_quoted_error(line, start, start + len(ERROR)) is quoted
