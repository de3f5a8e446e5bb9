"""Early exit in time: policies over (window so far, exit), and streams of steps that are answered as they arrive."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.deploy.onnx import stage_graphs
from offramp.deploy.runtime.series_stream import SeriesStream, TimedPrediction
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.deploy.runtime.time_policy import TimePolicy, choose_time_policy
from offramp.errors import InputError
from offramp.exits.exit_policy import ExitPolicy
from offramp.jsonio import dumps, loads
from offramp.nn.network import EarlyExitNetwork
from offramp.space.architecture import Architecture, ExitChoice, StageChoice
from tests.deploy import toys
from tests.deploy.quick_exports import quick_stage_graph

STEPS = 16
SHARES = (0.25, 1.0)  # the first exit sees a quarter of the evidence


def scaled(factor: float) -> nn.Module:
    """Passes two channels on, times a factor."""
    conv = nn.Conv2d(2, 2, 1, bias=False)
    conv.weight = nn.Parameter(factor * torch.eye(2)[:, :, None, None])
    return conv


def mean_classifier(factor: float) -> nn.Module:
    """The logit of a class is the mean of its channel over the whole window, times a factor."""
    linear = nn.Linear(2, 2)
    linear.weight, linear.bias = nn.Parameter(factor * torch.eye(2)), nn.Parameter(torch.zeros(2))
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> EarlyExitSession:
    architecture = Architecture("toy", 1, (StageChoice(2, 2, (1, 1), (1, 1)),), (ExitChoice(0, "toy"),))
    branches = [mean_classifier(16 * share) for share in SHARES]
    network = EarlyExitNetwork(architecture, [scaled(1.0), scaled(1.0)], branches, (2, 1, STEPS), 2).eval()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_graphs, "_export", quick_stage_graph)
        record = export_bundle(
            network,
            tmp_path_factory.mktemp("series") / "bundle",
            policy=ExitPolicy("max_probability", (0.9,)),
            class_names=("left", "right"),
            mean=(0.0, 0.0),
            std=(1.0, 1.0),
            checks=np.random.default_rng(0).normal(size=(20, 2, 1, STEPS)).astype(np.float32),
            name="toy",
            seed=0,
            cost=toys.cost_report(2),
            input_kind="series",
        )
    return EarlyExitSession(record.path)


def window(label: int, strength: float = 1.0) -> np.ndarray:
    """A window whose class is clear from the first step on."""
    values = np.zeros((2, STEPS), dtype=np.float32)
    values[label] = strength
    return values


def policy(thresholds: tuple[float, ...] = (0.9, 0.9, 0.9)) -> TimePolicy:
    return TimePolicy((4, STEPS), 2, "max_probability", thresholds, 1.0, 1.0, 4.0)


def test_a_clear_window_is_answered_before_it_ends(session: EarlyExitSession) -> None:
    # After 4 of 16 steps, exit 0 has logits (1, 0): confidence 0.73. Exit 1 has (4, 0): 0.982.
    (answer,) = SeriesStream(session, policy()).push(window(1)[:, :4])
    assert (answer.start, answer.steps, answer.label, answer.class_name, answer.exit) == (0, 4, 1, "right", 1)
    assert answer.confidence == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-5)


def test_a_window_that_nobody_is_sure_of_is_answered_by_the_last_exit_at_its_end(session: EarlyExitSession) -> None:
    # Exit 1 has logits (1.6, 0) at the end: confidence 0.83, but there is no later place.
    stream = SeriesStream(session, policy())
    assert stream.push(window(0, 0.1)[:, :15]) == ()
    (answer,) = stream.push(window(0, 0.1)[:, 15:])
    assert (answer.steps, answer.label, answer.exit) == (STEPS, 0, 1)


def test_all_runs_of_the_network_are_charged(session: EarlyExitSession) -> None:
    stream, costs = SeriesStream(session, policy()), [item.cost for item in session.manifest.exits]
    assert costs[1] is not None
    (early,) = stream.push(window(1))
    assert early.cost == costs[1]  # one run, up to the last exit
    (late,) = stream.push(window(0, 0.1))
    assert late.cost is not None
    assert late.cost.macs == 2 * costs[1].macs  # the run on 4 steps, and that on all
    assert late.cost.energy_pj == 2 * costs[1].energy_pj
    (first,) = SeriesStream(session, policy((0.7, 0.9, 0.9))).push(window(1)[:, :4])
    assert (first.exit, first.cost) == (0, costs[0])


@pytest.mark.parametrize("size", [1, 3, 16, 40])
def test_the_size_of_chunks_changes_no_answer(session: EarlyExitSession, size: int) -> None:
    rng = np.random.default_rng(3)
    series = np.concatenate([window(int(rng.integers(2)), float(rng.uniform(0.1, 1))) for _ in range(5)], axis=1)

    def answered(chunk: int) -> list[TimedPrediction]:
        chunks = (series[:, start : start + chunk] for start in range(0, series.shape[1], chunk))
        return list(SeriesStream(session, policy(), hop=8).follow(chunks))

    assert answered(size) == answered(7)
    assert [item.start for item in sorted(answered(size), key=lambda x: x.start)][:3] == [0, 8, 16]


def test_a_stream_keeps_only_what_open_windows_need(session: EarlyExitSession) -> None:
    stream = SeriesStream(session, policy(), hop=40)
    for _ in range(20):
        stream.push(window(1)[:, :7])
        assert stream._known.shape[1] <= STEPS


def test_answers_are_those_of_the_policy_on_whole_windows(session: EarlyExitSession) -> None:
    rng = np.random.default_rng(5)
    series = rng.normal(0.3, 1.0, size=(30, 2, STEPS)).astype(np.float32)
    labels = (series.mean(axis=2)[:, 1] > series.mean(axis=2)[:, 0]).astype(np.int64)
    found = choose_time_policy(session, series, labels, (4, 8), accuracy_drop=0.1)
    stream = SeriesStream(session, found)
    answers = [answer for item in series for answer in stream.push(item)]
    assert np.mean([a.label == label for a, label in zip(answers, labels, strict=True)]) == pytest.approx(
        found.accuracy
    )
    assert np.mean([answer.steps for answer in answers]) == pytest.approx(found.expected_steps)
    assert found.accuracy >= found.reference_accuracy - 0.1
    assert found.expected_steps < STEPS


def test_thresholds_are_chosen_for_time(session: EarlyExitSession) -> None:
    """Half of the windows are clear at once; the evidence of the others turns after a quarter."""
    clear = np.stack([window(label) for label in (0, 1) * 10])
    turning = np.stack([window(label) for label in (0, 1) * 10])
    turning[:, :, :4] = 0.1 * turning[:, ::-1, :4]  # a little of the other class
    series, labels = np.concatenate([clear, turning]), np.array([0, 1] * 20)
    found = choose_time_policy(session, series, labels, (4,), accuracy_drop=0.0)
    assert (found.accuracy, found.reference_accuracy, found.expected_steps) == (1.0, 1.0, (4 + STEPS) / 2)
    hasty = choose_time_policy(session, series, labels, (4,), accuracy_drop=0.5)
    assert (hasty.accuracy, hasty.expected_steps) == (0.5, 4.0)


def test_a_policy_is_kept_as_json() -> None:
    assert loads(TimePolicy, dumps(policy())) == policy()


def test_what_does_not_fit_is_refused_with_a_sentence(session: EarlyExitSession, bundle: Path) -> None:
    series, labels = np.zeros((2, 2, STEPS), dtype=np.float32), np.array([0, 1])
    for steps, message in (((0,), "from 1 to 16"), ((17,), "from 1 to 16"), (range(1, 16), "at most 12 pairs")):
        with pytest.raises(InputError, match=message):
            choose_time_policy(session, series, labels, steps)
    with pytest.raises(InputError, match="accuracy_drop"):
        choose_time_policy(session, series, labels, (4,), accuracy_drop=1.5)
    with pytest.raises(InputError, match="one class for each of 2 series"):
        choose_time_policy(session, series, labels[:1], (4,))
    with pytest.raises(InputError, match=r"shape \(2, steps\), got float32 of \(3, 4\)"):
        SeriesStream(session, policy()).push(np.zeros((3, 4), dtype=np.float32))
    with pytest.raises(InputError, match="finite"):
        SeriesStream(session, policy()).push(np.full((2, 4), np.nan, dtype=np.float32))
    with pytest.raises(InputError, match="hop"):
        SeriesStream(session, policy(), hop=0)
    with pytest.raises(InputError, match="Choose one for this bundle"):
        SeriesStream(session, TimePolicy((4, 8), 2, "max_probability", (0.9,) * 3, 1.0, 1.0, 4.0))
    images = EarlyExitSession(bundle)
    with pytest.raises(InputError, match="reads pixels"):
        choose_time_policy(images, toys.samples(2), labels, (4,))
