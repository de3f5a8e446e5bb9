"""A search that ended goes on with a larger budget."""

import shutil
from pathlib import Path

import pytest

from offramp.errors import ConfigError
from offramp.records import read_run
from offramp.records.run_summary import load_summary
from offramp.run.api import search

pytestmark = pytest.mark.usefixtures("quick_exporter")


def test_a_finished_run_goes_on_with_a_larger_budget(finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    before = load_summary(run / "summary.json")
    with pytest.raises(ConfigError, match=r"larger than what was done, 12 evaluations, got 12"):
        search(run=run, resume=True, budget__evaluations=12)
    weights = (run / "supernet.safetensors").read_bytes()
    result = search(run=run, resume=True, budget__evaluations=20)
    after = load_summary(run / "summary.json")
    assert len(after.evaluations) == 20
    assert after.evaluations[:12] == before.evaluations
    assert (run / "supernet.safetensors").read_bytes() == weights
    # The networks are those that the picks of the new front name, each finished and exported as a whole.
    front = {evaluation.architecture for evaluation in (*result.front, *result.static_front)}
    assert {network.candidate for network in after.chosen} <= front
    assert all((run / network.bundle / "manifest.json").is_file() for network in after.chosen)
    # An exit alone is a part of its network, without a folder of its own unless it is exported.
    finished = [item for item in (*after.chosen, *after.static_networks) if not item.exit_of or item.bundle]
    assert {folder.name for folder in (run / "chosen").iterdir()} == {
        "reference",
        *(network.rule for network in finished),
    }
    assert after.static_reference == before.static_reference
    # Nothing is left to do, and the record fits the folder.
    again = search(run=run, resume=True)
    assert again.summary is not None
    assert again.summary.chosen == after.chosen
    store = read_run(run)
    assert store.config.budget.evaluations == 20
    store.verify_checkpoints()
    store.close()
