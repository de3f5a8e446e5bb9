"""One small search from data to bundle, looked at from Python."""

from pathlib import Path

import numpy as np
import pytest

import offramp
from offramp.data.dataset_loading import load_dataset
from offramp.errors import ConfigError, ConstraintError, InputError, Interrupted, RunError
from offramp.objectives.evaluation import Status
from offramp.progress import SilentReporter
from offramp.records import read_run
from offramp.records.run_summary import load_summary
from offramp.run.api import search
from offramp.run.finishing.targets import Selection, select
from offramp.settings.by_name import with_settings
from offramp.settings.config_file import load_config
from tests.conftest import LEAST_TRAINING, finished_config, small_config

pytestmark = pytest.mark.usefixtures("quick_exporter")


def test_the_run_folder_holds_everything(finished_run: Path) -> None:
    # The backbone that was chosen for the data is recorded.
    assert finished_config().space.backbone == "auto"
    recorded = load_config(finished_run / "config.yaml")
    assert recorded == with_settings(finished_config(), space__backbone="resnet")
    for name in ("run.sqlite", "supernet.safetensors", "summary.json", "report.html"):
        assert (finished_run / name).stat().st_size > 0
    store = read_run(finished_run)
    assert len(store.evaluations()) == 12
    assert all(evaluation.status is Status.COMPLETE for evaluation in store.evaluations())
    store.close()


def test_the_summary_agrees_with_itself(finished_run: Path) -> None:
    summary = load_summary(finished_run / "summary.json")
    assert summary.seed == 0
    assert summary.engine
    assert summary.front
    assert summary.data.num_train + summary.data.num_validation + summary.data.num_test == 1797
    for network in summary.chosen:
        assert network.test is not None
        assert network.test.num_samples == summary.data.num_test
        assert network.validation.num_samples == summary.data.num_validation
        # A network without early exits is never dearer than the same one whose samples run through all branches.
        assert network.static.cost.stages[-1].energy_to_exit_pj <= network.cost.stages[-1].energy_to_exit_pj
        rates = np.asarray(network.test.rates)
        latency = np.asarray([stage.latency_to_exit_cycles for stage in network.cost.stages])
        assert network.expected_test is not None
        assert network.expected_test.latency_cycles == pytest.approx(float(rates @ latency))


def test_a_bundle_repeats_the_test_accuracy(finished_run: Path) -> None:
    """The exported files, run by onnxruntime on the raw test images, give the reported accuracy and exit rates."""
    summary = load_summary(finished_run / "summary.json")
    test = load_dataset("digits", seed=0).splits.test
    for network in summary.chosen:
        predictions = offramp.EarlyExitSession(finished_run / network.bundle).predict(test.samples)
        accuracy = np.mean([p.label == label for p, label in zip(predictions, test.labels, strict=True)])
        assert network.test is not None
        assert accuracy == pytest.approx(network.test.top1, abs=1.5 / len(test))
        rates = np.bincount([p.exit for p in predictions], minlength=len(network.test.rates)) / len(test)
        assert rates == pytest.approx(network.test.rates, abs=1.5 / len(test))


def test_a_finished_run_can_be_resumed_without_doing_anything_again(finished_run: Path) -> None:
    before = load_summary(finished_run / "summary.json")
    result = search(run=finished_run, resume=True)
    after = load_summary(finished_run / "summary.json")
    assert after.evaluations == before.evaluations
    assert after.chosen == before.chosen
    assert result.chosen == before.chosen


def test_a_run_holds_both_fronts_and_a_trained_match_of_every_early_exit_network(finished_run: Path) -> None:
    summary = load_summary(finished_run / "summary.json")
    store = read_run(finished_run)
    statics = store.static_candidates()
    store.close()
    assert summary.num_static_candidates == len(statics) > len(summary.static_front) > 0
    assert all(item.architecture.is_static for item in summary.static_front)
    assert not any(item.architecture.is_static for item in summary.front)
    assert summary.volume_beyond_static is not None
    assert 0.0 <= summary.volume_beyond_static <= 1.0
    # No candidate of the early-exit front sends nearly all samples to one exit.
    assert all(max(item.details.profile.rates) <= 0.99 for item in summary.front if item.details is not None)
    trained = {network.rule: network for network in (*summary.static_networks, *summary.chosen)}
    for network in summary.chosen:
        # Every exit that was deployed is used.
        assert all(rate > 0.0 for rate in network.validation.rates)
        for match in (network.match, network.match_at_cost):
            assert (match is None) == (network.num_exits == 1)
            if match is not None:
                assert match.trained
                assert match.outcomes is not None
                assert match.accuracy_test == pytest.approx(match.outcomes.accuracy)
                assert (trained[match.name].architecture, trained[match.name].cost) == (match.architecture, match.cost)
    assert all(network.num_exits == 1 for network in summary.static_networks)


def test_the_python_interface(finished_run: Path, tmp_path: Path) -> None:
    result = search(run=finished_run, resume=True)
    best = result.pick("most_accurate")
    gaining = result.fronts.beyond_static if len(result.fronts.beyond_static) else result.static_front
    assert best.values["accuracy"] == max(e.values["accuracy"] for e in gaining)
    assert "<html" in result.report()
    target = result.export(tmp_path / "bundle")
    assert (target / "manifest.json").exists()
    with pytest.raises(RunError, match="must not exist"):
        result.export(tmp_path / "bundle")
    with pytest.raises(RunError, match="no finished network"):
        result.export(tmp_path / "other", rule="cheapest")


def test_same_seed_same_front(finished_run: Path, tmp_path: Path) -> None:
    # What is finished afterwards has no part in it, so one network is enough.
    config = with_settings(finished_config(), fine_tune__picks=("cheapest",), fine_tune__epochs=0)
    again = search(config, run=tmp_path / "again")
    store = read_run(finished_run)
    first = [(e.architecture, e.values) for e in store.evaluations()]
    store.close()
    store = read_run(again.folder)
    assert [(e.architecture, e.values) for e in store.evaluations()] == first
    store.close()


def test_impossible_constraints_name_the_nearest_candidate(tmp_path: Path) -> None:
    config = small_config(search__constraints=("macs<=10",), search__evaluations=6, **LEAST_TRAINING)
    with pytest.raises(ConstraintError, match=r"None of 6 candidates .*macs = "):
        search(config, run=tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"search__constraints": ("macs<=1M", "macs>=2M")}, "macs exclude each other: at least 2e"),
        ({"search__objectives": ("accuracy", "macs", "min:macs")}, "none twice"),
        ({"search__objectives": ()}, "at least one metric"),
    ],
)
def test_goals_that_contradict_each_other_are_refused_before_any_work(
    settings: dict[str, tuple[str, ...]], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(ConstraintError, match=fault):
        search(small_config(**settings), run=tmp_path / "config")
    with pytest.raises(ConstraintError, match=fault):
        search(data__source="no/such/data", run=tmp_path / "keywords", **settings)
    with_settings(small_config(), {n.replace("__", "."): v for n, v in settings.items()}).save(tmp_path / "c.yaml")
    with pytest.raises(ConstraintError, match=fault):
        search(load_config(tmp_path / "c.yaml"), run=tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_ctrl_c_leaves_a_report_and_resume_completes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator

    original = SupernetEvaluator.evaluate
    calls = {"left": 9}

    def stops(self: SupernetEvaluator, architecture: object) -> object:
        calls["left"] -= 1
        if calls["left"] == 0:
            raise KeyboardInterrupt
        return original(self, architecture)  # type: ignore[arg-type]

    monkeypatch.setattr(SupernetEvaluator, "evaluate", stops)
    config = small_config(fine_tune__picks=("cheapest",), search__algorithm="nsga2", **LEAST_TRAINING)
    stopped = search(config, run=tmp_path / "run", reporter=SilentReporter())
    assert stopped.interrupted
    assert stopped.finished == ()
    assert (tmp_path / "run" / "report.html").exists()
    monkeypatch.setattr(SupernetEvaluator, "evaluate", original)
    done = search(run=tmp_path / "run", resume=True)
    assert not done.interrupted
    assert len(done.chosen) >= 1
    assert len(load_summary(tmp_path / "run" / "summary.json").evaluations) == 12


def test_bit_widths_to_search_among_need_a_granularity(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\(8/8, 4/8\) need a granularity: set space\.precision"):
        search(small_config(space__precisions=("8/8", "4/8")), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resume_and_overwrite_exclude_each_other(finished_run: Path) -> None:
    with pytest.raises(RunError, match="only one of them"):
        search(run=finished_run, resume=True, overwrite=True)
    assert (finished_run / "summary.json").exists()


def test_resume_needs_a_run() -> None:
    with pytest.raises(RunError, match="--run"):
        search(resume=True)


def test_a_candidate_that_two_rules_pick_is_finished_once(finished_run: Path) -> None:
    result = search(run=finished_run, resume=True)
    twice = select(result.fronts, ["most_accurate", "most_accurate"])
    assert [type(s) for s in twice] == [Selection]
    assert len(twice) == 1


def test_a_network_picked_by_a_bound_has_its_bundle_where_the_record_says(tmp_path: Path) -> None:
    rules = ("macs<=10M", "most_accurate", "cheapest")
    config = small_config(fine_tune__picks=rules, search__evaluations=6, **LEAST_TRAINING)
    result = search(config, run=tmp_path / "run")
    for network in result.chosen:
        assert (tmp_path / "run" / network.bundle / "manifest.json").is_file()
    assert {rule for network in result.chosen for rule in network.rule.split("+")} == set(rules)
    assert (result.export(tmp_path / "bundle", rule="macs<=10M") / "manifest.json").is_file()


def test_a_cluster_that_is_not_there_is_noticed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offramp.distributed.dask_cluster._CONNECT_S", 0.5)
    with pytest.raises(InputError, match="must answer at 'tcp://"):
        search(small_config(), run=tmp_path / "run", execution__cluster="tcp://127.0.0.1:1")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_between_the_phases_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(pipeline: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("offramp.run.pipeline.Pipeline.run", stopped)
    with pytest.raises(Interrupted, match=r"Stopped\. Go on with: offramp search --run .*early --resume"):
        search(small_config(), run=tmp_path / "early")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config": {"seed": 4}}, "`config` must be an offramp.Config, got dict"),
        ({"config": "config.yaml"}, "`config` must be an offramp.Config, got str"),
        ({"model": 3}, r"`model` must come from offramp.adopt\(model, example_input\), got int"),
        ({"run": ""}, "must have a folder of its own, got ''"),
        ({"run": "..", "overwrite": True}, "must have a folder of its own"),
    ],
)
def test_what_cannot_be_searched_with_is_refused_before_anything_is_written(
    arguments: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match=message):
        search(**arguments)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.rglob("*")] == ["here", "mine.txt"]
