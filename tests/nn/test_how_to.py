"""The plug-ins of docs/how-to/add-a-backbone.md and add-an-exit-branch.md work as they stand."""

import re
from pathlib import Path

import pytest

from offramp.nn.backbone import BACKBONES
from offramp.nn.branches.exit_branch import EXIT_BRANCHES

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


@pytest.mark.parametrize("page", ["add-a-backbone.md", "add-an-exit-branch.md"])
def test_the_examples_run(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (BACKBONES, EXIT_BRANCHES):
        assert list(registry)  # look for plug-ins before the names are replaced
        monkeypatch.setattr(registry, "_items", dict(registry._items))
    plug_in, check = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(), flags=re.DOTALL)
    before = {*BACKBONES, *EXIT_BRANCHES}
    # Names as in a module of its own, where dataclasses look up annotations.
    names: dict[str, object] = {"__name__": __name__}
    exec(compile(plug_in, page, "exec"), names)
    assert len({*BACKBONES, *EXIT_BRANCHES} - before) == 1
    exec(compile(check, page, "exec"), names)
