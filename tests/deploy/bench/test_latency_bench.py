"""`offramp bench`: what is measured, on which rates, and how it is told."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from offramp.cli.main import app
from offramp.deploy.bench import latency_bench as bench_module
from offramp.deploy.bench.latency_bench import bench
from offramp.deploy.bench.paired_timing import BenchSettings, Estimate
from offramp.deploy.bundle.export_bundle import ExportRecord
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import BundleError, InputError
from offramp.nn.network import EarlyExitNetwork
from tests.deploy import toys
from tests.deploy.conftest import Export

QUICK = BenchSettings(rounds=6, warm_up=1)


def test_rates_without_data_are_those_of_validation_and_that_is_said(record: ExportRecord) -> None:
    result = bench(record.path, settings=QUICK)
    assert result.exit_rates == (0.5, 0.25, 0.25)
    assert result.rates_from == "validation, as the manifest states"
    assert result.replay is None
    assert [form.form for form in result.forms] == ["one file", "chain of stages", "plain graphs"]
    assert result.relative_macs == pytest.approx(
        sum(r * m for r, m in zip(result.exit_rates, result.macs_to_exit, strict=True)) / result.static_macs
    )


def test_expected_latency_is_the_mean_of_the_medians_at_the_rates(
    record: ExportRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Static 8 ms; one file 2, 6, 10 ms; chain 3, 7, 11 ms; plain 1, 4, 8. The third of five rounds is the median.
    medians = np.array([8.0, 2.0, 6.0, 10.0, 3.0, 7.0, 11.0, 1.0, 4.0, 8.0])
    factors = np.array([0.5, 2.0, 1.0, 0.25, 4.0])
    monkeypatch.setattr(bench_module, "measure_in_turn", lambda *_: factors[:, None] * medians)
    result = bench(record.path, settings=QUICK)
    one_file, chain, plain = result.forms
    assert [e.value for e in one_file.exits_ms] == [2.0, 6.0, 10.0]
    assert one_file.expected_ms.value == 0.5 * 2 + 0.25 * 6 + 0.25 * 10
    assert one_file.relative_latency == Estimate(0.625, 0.625, 0.625)
    assert chain.relative_latency.value == 6.0 / 8.0
    assert plain.expected_ms.value == 0.5 * 1 + 0.25 * 4 + 0.25 * 8
    assert result.static_ms.value == 8.0


def test_data_give_the_rates_and_are_replayed(record: ExportRecord) -> None:
    images = toys.samples(40, seed=9)
    result = bench(record.path, images=images, source="samples", settings=QUICK)
    exits = [answer.exit for answer in EarlyExitSession(record.path).predict(images)]
    assert result.exit_rates == tuple(exits.count(i) / 40 for i in range(3))
    assert result.rates_from == "40 of samples"
    assert result.replay is not None
    assert result.replay.num_images == 6
    assert result.replay.static_ms.value > 0


def test_every_exit_is_really_taken(record: ExportRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[int] = []
    run = EarlyExitSession.run_stage
    monkeypatch.setattr(EarlyExitSession, "run_stage", lambda self, i, *x: (stages.append(i), run(self, i, *x))[1])
    seen: list[Any] = []
    monkeypatch.setattr(bench_module, "measure_in_turn", lambda calls, *_: fake(calls, seen))
    bench(record.path, settings=QUICK)
    sample = toys.samples(1)
    final = EarlyExitSession(record.path).all_logits(sample)
    # Static, then exits 0 to 2 in one file: each gives logits of its own; then the chain, 1 to 3 stages.
    assert len({logits.tobytes() for logits in (out[0] for out in seen[1:4])}) == 3
    assert np.allclose(seen[0][0], seen[3][0], atol=1e-4)
    for one_file, plain in zip(seen[1:4], seen[7:10], strict=True):
        assert np.allclose(one_file[0], plain[0], atol=1e-4)
    assert stages[: 1 + 2 + 3] == [0, 0, 1, 0, 1, 2]
    assert len(final) == 3


def fake(calls: Any, seen: list[Any]) -> Any:
    seen += [call() for call in calls]
    return np.ones((4, len(calls)))


def test_a_network_without_early_exits_is_its_own_static_model(quick_network: Path) -> None:
    result = bench(quick_network, images=toys.samples(3), settings=QUICK)
    assert result.exit_rates == (1.0,)
    assert result.relative_macs == 1.0


@pytest.fixture
def quick_network(tmp_path: Path) -> Path:
    from tests.deploy.conftest import export

    return export(toys.network(1), tmp_path / "one", policy=toys_policy(), cost=None, profile=None).path


def toys_policy() -> Any:
    from offramp.exits.exit_policy import ExitPolicy

    return ExitPolicy("max_probability", ())


def test_without_rates_data_must_be_given(network: EarlyExitNetwork, quick_export: Export, tmp_path: Path) -> None:
    path = quick_export(network, tmp_path / "bundle", profile=None).path
    with pytest.raises(InputError, match="--data"):
        bench(path, settings=QUICK)
    with pytest.raises(InputError, match="at least one"):
        bench(path, images=toys.samples(0), settings=QUICK)


def test_the_command_prints_a_table_or_json(record: ExportRecord) -> None:
    runner = CliRunner()
    shown = runner.invoke(app, ["bench", str(record.path), "--rounds", "4"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    for words in ("exit 2", "static model", "early / static", "validation, as the manifest states", "Load average"):
        assert words in shown.output
    told = runner.invoke(app, ["bench", str(record.path), "--rounds", "4", "--json"])
    figures = json.loads(told.output)
    assert len(figures["forms"][0]["exits_ms"]) == 3
    assert figures["num_rounds"] == 4


def test_a_joined_graph_of_other_outputs_is_refused(bundle: Path) -> None:
    path = bundle / "model.onnx"
    model = onnx.load(path)
    del model.graph.output[0]
    content = model.SerializeToString()
    path.write_bytes(content)
    data = json.loads((bundle / "manifest.json").read_text())
    for file in data["files"]:
        if file["name"] == path.name:
            file |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (bundle / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match=r"model\.onnx.* no output needs"):
        bench(bundle, settings=QUICK)


def test_data_are_read_in_the_size_of_the_network(finished_run: Path) -> None:
    bundle = next(finished_run.glob("chosen/*/bundle"))
    for split, count in (("test", 359), ("validation", None)):
        told = CliRunner().invoke(
            app, ["bench", str(bundle), "--data", "digits", "--split", split, "--rounds", "3", "--json"]
        )
        assert told.exit_code == 0, told.output
        figures = json.loads(told.output)
        assert figures["rates_from"].endswith(f"digits, {split} split")
        assert figures["replay"]["num_images"] == 3
        assert count is None or abs(int(figures["rates_from"].split()[0]) - count) <= 2
        assert sum(figures["exit_rates"]) == pytest.approx(1.0)
