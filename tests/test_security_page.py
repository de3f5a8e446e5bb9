"""Each claim of SECURITY.md names a test that exists."""

import ast
import re
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_CLAIM = re.compile(r"^\| (?!claim|---)(?P<claim>.+?) \| (?P<tests>[^|]+) \|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)(?:::(test_\w+))?`")


def test_each_claim_names_a_test_that_exists() -> None:
    claims = _CLAIM.findall((_ROOT / "SECURITY.md").read_text())
    assert len(claims) >= 5
    for claim, cell in claims:
        named = _TEST.findall(cell)
        assert named, f"No test stands behind: {claim}"
        for path, function in named:
            assert (_ROOT / path).is_file(), f"{path}, named for: {claim}"
            if function:
                assert function in _functions(_ROOT / path), f"{path}::{function}, named for: {claim}"


def test_the_page_promises_no_channel_and_no_time_that_nobody_confirmed() -> None:
    text = " ".join((_ROOT / "SECURITY.md").read_text().split())
    assert not re.search(r"within \d+ (days|hours)|which is private", text)
    assert "no promised time of answer" in text


def _functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
