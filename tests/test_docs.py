"""The README and the documentation say what is there: commands exist, links lead somewhere, Python runs."""

import importlib
import itertools
import re
import sys
from pathlib import Path

import pytest

import offramp
from offramp.cli.main import main
from offramp.run.api import SearchResult, search
from offramp.settings.by_name import parse_assignment, with_settings
from offramp.settings.config import Config

ROOT = Path(__file__).parents[1]
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")]
FILES = {
    str(path.relative_to(ROOT))
    for folder in ("src", "tests", "benchmarks", "docs", "examples")
    for path in (ROOT / folder).rglob("*")
    if "__pycache__" not in path.parts
}
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]}
# Pages whose Python is run here; that of all others is run by a test that names the page.
RUN_HERE = ("README.md", "docs/quickstart.md", "docs/concepts/costs.md", "docs/concepts/tables.md")


def blocks(page: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w*)\n(.*?)^```", PAGES[page], flags=re.S | re.M)


def commands() -> list[str]:
    """Every distinct `offramp ...` line, with lines that end in a backslash joined."""
    text = "\n".join(block for page in PAGES for _, block in blocks(page)).replace("\\\n", " ")
    return sorted({line.split("  #")[0].strip() for line in text.splitlines() if line.startswith("offramp ")})


@pytest.mark.parametrize("command", commands())
def test_commands_and_options_exist(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = command.split()
    depth = 3 if words[1] in ("accelerators", "table") else 2
    monkeypatch.setattr(sys, "argv", [*words[:depth], "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    shown = capsys.readouterr().out
    for option in (word for word in words[depth:] if word.startswith("--")):
        assert re.search(rf"{option}\b", shown), f"`{' '.join(words[:depth])}` has no option {option}"
    for option, value in itertools.pairwise(words):
        if option == "--set":
            setting, parsed = parse_assignment(value)
            with_settings(Config(), {setting.name: parsed})


@pytest.mark.parametrize("page", RUN_HERE)
def test_the_python_of_a_page_runs(
    page: str, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick(**settings: object) -> SearchResult:
        """What is checked is the page, not the search: a finished one stands in for it."""
        assert settings["data__source"] == "digits"
        return search(run=finished_run, resume=True)

    monkeypatch.setattr(offramp, "search", quick, raising=False)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    code = [block for kind, block in blocks(page) if kind == "python"]
    assert code
    for block in code:
        exec(compile(block, page, "exec"), names)


def test_the_python_of_every_other_page_has_a_test() -> None:
    tests = "\n".join(path.read_text() for path in ROOT.glob("tests/**/*.py") if path != Path(__file__))
    for page in PAGES:
        if page not in RUN_HERE and any(kind == "python" for kind, _ in blocks(page)):
            assert Path(page).name in tests, f"no test names {page}, so nobody runs its Python"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", PAGES[page]):
        if target.startswith("reference/"):
            continue  # made when the documentation is built
        assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def texts() -> list[tuple[str, str]]:
    return [(str(path.relative_to(ROOT)), path.read_text()) for path in TEXTS]


def test_every_dotted_name_is_there() -> None:
    named = {(page, name) for page, text in texts() for name in re.findall(r"\bofframp(?:\.[a-zA-Z_]\w*)+", text)}
    assert len(named) > 40
    # Groups of entry points, which packages name in their pyproject.toml, look alike.
    groups = {name for path in ROOT.glob("src/**/*.py") for name in re.findall(r'"(offramp\.\w+)"', path.read_text())}
    assert [f"{page}: {name}" for page, name in sorted(named) if name not in groups and not is_importable(name)] == []


def is_importable(name: str) -> bool:
    """Whether a name is a module or an attribute of one, at any depth."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", [page for page, _ in texts()])
def test_every_path_is_there(page: str) -> None:
    """Files and folders of the repository exist; a file that the reader is asked to save goes to a folder that does."""
    text = " ".join((ROOT / page).read_text().split())
    to_save = set(re.findall(r"(?:[Ss]ave (?:it|this) as|Add) `([^`]+)`", text))
    mentioned = set(re.findall(r"(?<![\w./-])(?:src|tests|benchmarks|examples|docs)/[\w./-]*[\w/]", text))
    mentioned |= {f"benchmarks/{name}" for name in re.findall(r"-m benchmarks\.(\w+)", text)}
    for path in mentioned - to_save:
        known = {path.rstrip("/"), f"{path}.py", f"{path}/__main__.py"}
        assert known & FILES, f"{page} mentions {path}"
    for path in to_save:
        assert str(Path(path).parent) in (".", *FILES), f"{page} asks to save {path}"
    for path in set(re.findall(r"`([\w/]+/\w+\.py)`", text)) - to_save:
        assert any(f"/{file}".endswith(f"/{path}") for file in FILES), f"{page} mentions {path}"
