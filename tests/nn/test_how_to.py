"""The plug-ins of the how-to pages on backbones, exit branches and branch layers work as they stand."""

import re
from pathlib import Path

import pytest
import torch

from offramp.nn.backbone import BACKBONES
from offramp.nn.branches.branch_layer import BRANCH_LAYERS
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


def test_the_branch_layer_extracts_to_the_same_function(monkeypatch: pytest.MonkeyPatch) -> None:
    list(BRANCH_LAYERS)
    monkeypatch.setattr(BRANCH_LAYERS, "_items", dict(BRANCH_LAYERS._items))
    (plug_in,) = re.findall(r"```python\n(.*?)```", (PAGES / "add-a-branch-layer.md").read_text(), flags=re.DOTALL)
    exec(compile(plug_in, "add-a-branch-layer.md", "exec"), {"__name__": __name__})
    kind = BRANCH_LAYERS.get("double_pointwise")
    layer = kind.build(6).eval()
    features = torch.randn(2, 4, 5, 3)
    for choice in kind.choices():
        width = layer.activate(4, choice)
        result = layer(features)
        assert result.shape == (2, width, 5, 3)
        torch.testing.assert_close(layer.extract().eval()(features), result)
