"""What `offramp search` prints at its end."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from offramp.cli.main import app
from offramp.deploy.targets.deployment_target import WrittenTarget
from offramp.objectives.fronts import Fronts
from offramp.objectives.pareto import ParetoFront
from offramp.objectives.parse import parse_objectives
from offramp.records.run_summary import load_summary
from offramp.run import api
from offramp.run.api import SearchResult
from offramp.settings.config import Config


@pytest.fixture
def ended(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> SearchResult:
    """What `offramp search` gets from the shared run, with a target beside a bundle and one that failed."""
    failure = "Deployment target 'c' was not written for network 'knee': no compiler [gcc]. " + "All is kept. " * 8
    empty = ParetoFront(parse_objectives(("accuracy", "macs")), ())
    result = SearchResult(
        folder=finished_run,
        config=Config(),
        fronts=Fronts(empty, empty),
        finished=(),
        statics=(),
        summary=None,
        interrupted=False,
        written_targets=(WrittenTarget("int8", "knee", finished_run / "chosen" / "knee" / "int8"),),
        failed_targets=(failure.strip(),),
    )
    monkeypatch.setattr(api, "search", lambda *_, **__: result)
    return result


def test_a_target_that_failed_is_stated_at_the_end_also_of_a_quiet_run(ended: SearchResult) -> None:
    result = CliRunner().invoke(app, ["search", "--quiet"])
    assert result.exit_code == 0
    assert result.output.splitlines()[-1].strip() == f"Warning: {ended.failed_targets[0]}"


def test_the_path_of_every_written_target_is_printed_below_its_bundle(ended: SearchResult) -> None:
    lines = "".join(CliRunner().invoke(app, ["search"]).output.split())
    knee = ended.folder / "chosen" / "knee"
    recommended = load_summary(ended.folder / "summary.json").recommended
    mark = ",recommended" if recommended is not None and recommended.rule == "knee" else ""
    assert f"Bundle(knee{mark}):{knee}/bundleTargetint8(knee):{knee}/int8" in lines
    assert "int8(most_accurate)" not in lines


def test_accepting_changes_belongs_to_a_resumed_run() -> None:
    refused = CliRunner().invoke(app, ["search", "--accept-changes"]).exception
    assert str(refused).startswith("--accept-changes belongs to --resume")
