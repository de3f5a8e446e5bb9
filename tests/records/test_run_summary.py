import json
from dataclasses import replace
from pathlib import Path

import pytest

from offramp import jsonio
from offramp.cost.expected import expected_cost
from offramp.errors import InputError, RunError
from offramp.records.report_items import SampleDecision, TrainingCurve
from offramp.records.run_summary import RunSummary, StaticReference, load_summary, save_summary, with_verdict
from tests.report import fake


@pytest.fixture(scope="module")
def summary() -> RunSummary:
    return fake.fake_summary(count=12)


def test_json_and_back(summary: RunSummary, tmp_path: Path) -> None:
    save_summary(summary, tmp_path / "summary.json")
    assert load_summary(tmp_path / "summary.json") == summary


def test_a_summary_without_the_optional_parts_survives_json(tmp_path: Path) -> None:
    bare = replace(
        fake.fake_summary(count=12, tested=False, trained=False),
        chosen=(), front_indices=(), duration_s=None, clock_hz=None, environment=(), warnings=(),
    )  # fmt: skip
    assert jsonio.loads(RunSummary, jsonio.dumps(bare)) == bare


def test_a_closed_exit_survives_json(summary: RunSummary) -> None:
    network = summary.chosen[0]
    closed = replace(network, policy=replace(network.policy, thresholds=(float("inf"),) * (network.num_exits - 1)))
    again = jsonio.loads(type(closed), jsonio.dumps(closed))
    assert again.policy.thresholds == closed.policy.thresholds


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"title": 3}', b"[" * 100_000])
def test_damaged_files_are_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match="summary"):
        load_summary(path)


def test_missing_file_and_missing_folder(summary: RunSummary, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="finished run folder"):
        load_summary(tmp_path / "none.json")
    with pytest.raises(RunError, match="cannot be written"):
        save_summary(summary, tmp_path / "none" / "summary.json")


def test_a_newer_format_is_refused(summary: RunSummary) -> None:
    data = jsonio.to_data(summary)
    data["format_version"] = 2
    with pytest.raises(InputError, match="format version 1, got 2"):
        jsonio.loads(RunSummary, json.dumps(data))


def test_front_indices_must_point_into_the_evaluations(summary: RunSummary) -> None:
    with pytest.raises(ValueError, match=r"got \[12, -1\]"):
        replace(summary, front_indices=(0, 12, -1))


def test_front_is_in_the_order_of_its_indices(summary: RunSummary) -> None:
    turned = replace(summary, front_indices=(3, 2))
    assert turned.front == (summary.evaluations[3], summary.evaluations[2])


def test_the_knee_is_recommended_wherever_it_stands(summary: RunSummary) -> None:
    turned = replace(summary, chosen=summary.chosen[::-1])
    assert turned.recommended == summary.chosen[0]
    others = replace(summary, chosen=summary.chosen[1:])
    assert others.recommended == summary.chosen[1]
    assert replace(summary, chosen=()).recommended is None


def test_test_results_count_where_there_are_any() -> None:
    tested = fake.fake_summary(count=12).chosen[0]
    assert tested.measured.split == "test"
    assert tested.measured.profile is tested.test
    untested = fake.fake_summary(count=12, tested=False).chosen[0]
    assert untested.measured.split == "validation"
    assert untested.measured.expected == untested.expected_validation


def test_static_cost_is_that_of_its_only_stage(summary: RunSummary) -> None:
    reference = summary.static_reference
    assert reference.expected == expected_cost(reference.cost, (1.0,))
    with pytest.raises(ValueError, match="one stage, got"):
        StaticReference("x", reference.architecture, 0.9, None, summary.chosen[0].cost)


def test_a_chosen_network_checks_itself(summary: RunSummary) -> None:
    network = summary.chosen[0]
    with pytest.raises(ValueError, match="one threshold per exit"):
        replace(network, policy=replace(network.policy, thresholds=(0.5,) * network.num_exits))
    with pytest.raises(ValueError, match="one rate and accuracy per exit"):
        replace(network, validation=fake.exit_profile(network.num_exits + 1, 0.9, 10))
    with pytest.raises(ValueError, match="together or not at all"):
        replace(network, test=None)
    with pytest.raises(ValueError, match="`dropped` must be of taps without an exit"):
        replace(network, dropped=network.architecture.exits[:1])


def test_curves_have_one_value_per_epoch() -> None:
    with pytest.raises(ValueError, match=r"per epoch \(2\), got 1"):
        TrainingCurve("x", (1, 2), (0.5,))
    with pytest.raises(ValueError, match=r"per epoch \(2\), got 3"):
        TrainingCurve("x", (1, 2), (0.5, 0.4), ((0.1, 0.2, 0.3),))


@pytest.mark.parametrize(
    ("png", "fault"),
    [("not base64!", "base64"), ("aGVsbG8=", "PNG"), ("", "PNG"), ("PHN2Zz4=", "PNG"), ("ä", "base64")],
)
def test_only_png_images_are_taken(png: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        SampleDecision(png, "a", "b", 0, 0.5)


def test_a_sample_leaves_at_an_exit_that_can_be(summary: RunSummary) -> None:
    sample = summary.samples[0]
    assert sample.correct
    assert not summary.samples[4].correct
    with pytest.raises(ValueError, match="exit_index"):
        replace(sample, exit_index=-1)


@pytest.mark.parametrize("bundle", ["/etc", "../elsewhere", "chosen/knee/../../../elsewhere"])
def test_a_bundle_outside_the_run_folder_is_refused(summary: RunSummary, bundle: str) -> None:
    with pytest.raises(ValueError, match="must lie inside the run folder"):
        replace(summary.chosen[0], bundle=bundle)


def test_where_early_exits_do_not_pay_the_match_is_recommended(summary: RunSummary) -> None:
    costly = fake.chosen("knee", fake.evaluation(fake.architecture(taps=(1,)), 0.9, 0.75), match_scale=0.1)
    assert costly.verdict is not None
    assert costly.verdict.answer == "do not pay"
    static = replace(
        fake.chosen("x", fake.evaluation(fake.architecture(taps=()), 0.9, 0.75)), rule="match of knee", match=None
    )
    run = replace(summary, chosen=(costly,), static_networks=(static,))
    assert run.picked is costly
    assert run.recommended is static
    assert run.exported == (costly, static)
    assert replace(run, static_networks=(replace(static, bundle=""),)).exported == (costly,)
    # Without its record there is nothing else to recommend.
    assert replace(run, static_networks=()).recommended is costly
    cheap = fake.chosen("knee", fake.evaluation(fake.architecture(taps=(1,)), 0.9, 0.75))
    assert replace(run, chosen=(cheap,)).recommended is cheap


def test_a_verdict_needs_tests_of_both_networks_and_an_early_exit() -> None:
    network = fake.chosen("knee", fake.evaluation(fake.architecture(taps=(1,)), 0.9, 0.75))
    assert network.verdict is not None
    assert with_verdict(replace(network, outcomes=None)).verdict is None
    assert with_verdict(replace(network, match=None)).verdict is None
    assert network.match is not None
    untested = replace(network.match, outcomes=None, accuracy_test=None, trained=False)
    assert with_verdict(replace(network, match=untested)).verdict is None
    assert fake.chosen("knee", fake.evaluation(fake.architecture(taps=()), 0.9, 0.75)).verdict is None
