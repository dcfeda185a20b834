"""What shells are answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preflight.cli import completion
from preflight.cli.app import build_parser
from preflight.model.problems import InputError


@pytest.fixture
def answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> object:
    """Return what a shell is answered for a line with the cursor at its end."""
    monkeypatch.chdir(tmp_path)

    def ask(shell: str, line: str) -> str:
        monkeypatch.setenv("COMP_WORDS", line.replace(" ", "\n"))
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        monkeypatch.setenv("_TYPER_COMPLETE_WORD_TO_COMPLETE", line.rpartition(" ")[2])
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        assert completion.answer_completion_request(f"complete_{shell}", build_parser) == 0
        return capsys.readouterr().out

    return ask


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("ch", ["check"]),
        ("--debug ex", ["explain"]),
        ("rules t", ["test"]),
        ("rules list --f", ["--format"]),
        ("check --facts f.json --str", ["--strict"]),
        ("check --bogus --str", ["--strict"]),
        ("check -f js", ["json"]),
        ("check --format=ju", ["--format=junit"]),
        ("check --only = docker-reac", ["docker-reachable"]),
        ("rules test -f j", ["json", "junit"]),
        ("schema re", ["report"]),
        ("schema report ", []),
        ("explain host-m", ["host-memory"]),
        ("help mo", ["models"]),
        ("check -- --str", []),
        ("check --rules ", []),
        ("nothing ", []),
        ("diagnose a.log ", []),
    ],
)
def test_the_word_at_the_cursor(answer, line: str, offers: list[str]) -> None:  # type: ignore[no-untyped-def]
    assert answer("bash", f"preflight {line}").splitlines() == offers
    for shell in ("fish", "powershell"):
        lines = answer(shell, f"preflight {line}").splitlines()
        assert [text.partition("\t")[0].partition(":::")[0] for text in lines] == offers
    script = answer("zsh", f"preflight {line}")
    assert all(f'"{offer}"' in script for offer in offers)
    assert offers or script == "_files\n"


@pytest.mark.parametrize(
    "tag", ["\\$(touch x)", "$(touch x)", "`touch x`", "a b", "a\nb", "*", "a;b"]
)
def test_what_a_shell_would_take_for_more_than_a_word_is_not_offered(  # type: ignore[no-untyped-def]
    answer, tag: str
) -> None:
    """The rule file of a folder may be a stranger's, and zsh ran the first on a press of Tab."""
    rule = {"id": "a-rule", "title": "A", "tags": [tag, "fine"], "fact": "host.os"}
    rules = {"version": 1, "rules": [{**rule, "require": {"exists": True}}]}
    Path("preflight.yaml").write_text(json.dumps(rules))
    assert answer("bash", "preflight check --only ") == "a-rule\nfine\n"
    assert answer("fish", "preflight check --only ") == "a-rule\nfine\n"
    offers = '"a-rule"\n"fine"'
    assert answer("zsh", "preflight check --only ") == f"_arguments '*: :(({offers}))'\n"


def test_each_offer_has_a_meaning_in_a_line(answer) -> None:  # type: ignore[no-untyped-def]
    assert answer("fish", "preflight check --fa") == (
        "--facts\tUse this snapshot or bundle instead of measuring this machine\n"
    )
    assert answer("pwsh", "preflight check -q") == "-q:::Show only what needs action\n"
    assert answer("zsh", "preflight check --onl").startswith(
        """_arguments '*: :(("--online":"Also run the checks that need network access"""
    )
    schema = """"schema":"Print the JSON Schema of one of preflight'\\''s files.\""""
    assert answer("zsh", "preflight sc") == f"_arguments '*: :(({schema}))'\n"


def test_fish_asks_first_whether_there_is_an_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "is-args")
    for line, code in (("preflight che", 0), ("preflight check --facts ", 1)):
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        assert completion.answer_completion_request("complete_fish", build_parser) == code


@pytest.mark.parametrize("instruction", ["complete_tcsh", "run_bash", "x"])
def test_other_shells_are_refused(instruction: str) -> None:
    with pytest.raises(InputError, match=f"^_PREFLIGHT_COMPLETE={instruction}: expected "):
        completion.answer_completion_request(instruction, build_parser)
