"""The tables beside the modules of facts."""

import re
from pathlib import Path

import preflight.facts
from preflight.facts.table import read_table

FACTS_DIR = Path(preflight.facts.__file__).parent


def test_every_table_is_read_by_a_module_and_has_whole_lines() -> None:
    names = re.findall(r"^\[(.+)\]$", (FACTS_DIR / "tables.txt").read_text("utf-8"), re.M)
    code = "".join(file.read_text("utf-8") for file in FACTS_DIR.rglob("*.py"))
    assert sorted(re.findall(r'read_table\("([^"]+)"\)', code)) == sorted(names)
    for name in names:
        table = read_table(name)
        assert table
        assert all(table) and all(table.values())


def test_comments_are_no_part_of_a_table() -> None:
    assert not any(key.startswith("#") for key in read_table("filesystems"))
    assert read_table("version arguments of programs")["kubectl"] == "version --client"
