"""What `offramp search` prints at its end."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from offramp.cli.main import app
from offramp.objectives.pareto import ParetoFront
from offramp.objectives.parse import parse_objectives
from offramp.run import api
from offramp.run.api import SearchResult
from offramp.settings.config import Config


def test_a_target_that_failed_is_stated_at_the_end_also_of_a_quiet_run(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = "Deployment target 'c' was not written for network 'knee': no compiler [gcc]. " + "All is kept. " * 8

    def finished(*_: object, **__: object) -> SearchResult:
        return SearchResult(
            finished_run, Config(), ParetoFront(parse_objectives(("accuracy", "macs")), ()), (), None, False, (failure,)
        )

    monkeypatch.setattr(api, "search", finished)
    result = CliRunner().invoke(app, ["search", "--quiet"])
    assert result.exit_code == 0
    assert result.output.splitlines()[-1].strip() == f"Warning: {failure}".strip()
