"""The keywords of `offramp.search` are the settings, and a type checker knows them."""

import ast
import inspect
import re
from pathlib import Path
from typing import Unpack, get_type_hints

import mypy.api
import pytest

from offramp.run.api import search
from offramp.settings.by_name import with_settings
from offramp.settings.keywords import KeywordSettings
from tests.settings.write_keywords import TARGET, written


def test_the_keywords_are_the_fields_of_the_settings() -> None:
    again = "run `python -m tests.settings.write_keywords`"
    assert ast.dump(ast.parse(TARGET.read_text())) == ast.dump(ast.parse(written())), again


def test_searches_and_helpers_take_them() -> None:
    for function in (search, with_settings):
        settings = inspect.signature(function).parameters["settings"]
        assert settings.kind is inspect.Parameter.VAR_KEYWORD
        assert get_type_hints(function)["settings"] == Unpack[KeywordSettings]


def test_a_type_checker_knows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its ignores, mypy refuses exactly the calls of the page that must be refused."""
    root = Path(__file__).parents[2]
    lines = (root / "tests" / "settings" / "typed_calls.py").read_text().splitlines()
    wrong = {
        number: line.split("# type: ignore")[1] for number, line in enumerate(lines, 1) if "# type: ignore" in line
    }
    (tmp_path / "typed_calls.py").write_text("\n".join(line.split("  # type: ignore")[0] for line in lines) + "\n")
    monkeypatch.chdir(root)
    out, fault, _ = mypy.api.run([str(tmp_path / "typed_calls.py"), "--config-file", str(root / "pyproject.toml")])
    assert fault == ""
    found = {int(m[1]): f"[{m[2]}]" for m in re.finditer(r"typed_calls\.py:(\d+): error: .*\[([\w-]+)\]", out)}
    assert found == wrong
    assert len(wrong) > 8
