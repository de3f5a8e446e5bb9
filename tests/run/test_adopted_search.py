"""A model that was brought along through a whole search: trained, priced, exported, run again, gone on with."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import offramp
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import AdoptError, ConfigError, RunError
from offramp.nn.adoption.adopted_model import AdoptedModel
from offramp.progress import SilentReporter
from offramp.records import read_run
from offramp.run.api import SearchResult
from offramp.run.factory import build_context, build_dataset
from tests.nn.toy_models import CLASSES, SHAPE, Shared, Toy, Vision

QUICK: dict[str, Any] = {
    "train__epochs": 1,
    "train__batch_size": 16,
    "train__random_subnets": 0,
    "space__branches": ("global_pool",),
    "search__evaluations": 4,
    "search__batch": 2,
    "fine_tune__epochs": 1,
    "fine_tune__picks": ("most_accurate",),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Colour images whose brightness is their class."""
    rng = np.random.default_rng(0)
    labels = np.arange(100) % CLASSES
    images = (rng.normal(0, 10, (100, *SHAPE)) + 40 * labels[:, None, None, None] + 30).clip(0, 255)
    path = tmp_path_factory.mktemp("data") / "shades.npz"
    np.savez(path, x=images.astype(np.uint8), y=labels)
    return str(path)


def adopted(kind: type[torch.nn.Module] = Toy, **settings: Any) -> AdoptedModel:
    torch.manual_seed(0)
    return offramp.adopt(kind(), torch.zeros(1, *SHAPE), max_taps=2, **settings)


@pytest.fixture(scope="module")
def frozen_search(data: str, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    run = tmp_path_factory.mktemp("run") / "frozen"
    return offramp.search(model=adopted(freeze=True), data__source=data, run=run, **QUICK)


def with_exits(result: SearchResult) -> Any:
    """The evaluation of a proposal with exits; it may be one of the static network that this is in effect."""
    batches = read_run(result.folder).batches()
    return next(item.evaluation for batch in batches for item in batch.proposals if item.architecture.exits)


def test_a_frozen_model_comes_out_as_it_went_in(frozen_search: SearchResult) -> None:
    (item,) = frozen_search.finished
    assert item.record.architecture.final_branch == "own_head"
    assert item.record.architecture.backbone == frozen_search.config.space.backbone == "adopted:Toy"
    # A network that ends early has the pieces up to its head alone.
    head, pieces = item.record.architecture.head, adopted().pieces
    model = pieces[: len(pieces) - 1 if head is None else head.tap + 1]
    expected = found = torch.randn(7, *SHAPE)
    network = item.network.cpu().eval()
    with torch.no_grad():
        for piece in model:
            expected = piece.eval()(expected)
        for stage in network.stages:
            found = stage(found)
        # Not to the bit, for a network is kept in the memory layout that it was trained in.
        torch.testing.assert_close(found, expected)
        if head is None:
            torch.testing.assert_close(network.branches[-1](found), pieces[-1].eval()(expected))
    trained = {key.partition("body.")[2]: value for key, value in item.network.stages.state_dict().items()}
    for piece in model:
        assert all(torch.equal(trained[key], value) for key, value in piece.state_dict().items())


@pytest.mark.parametrize(("kind", "algorithm"), [(Toy, "random"), (Vision, "nsga2"), (Shared, "random")])
def test_the_bundle_answers_as_the_network_does(
    kind: type[torch.nn.Module], algorithm: str, data: str, tmp_path: Path
) -> None:
    # A model that cheap exits cannot stand in for: the pick with exits is by its number of MACs.
    result = offramp.search(
        model=adopted(kind), data__source=data, run=tmp_path / "run", **(QUICK | {"search__algorithm": algorithm})
    )
    (item,) = result.finished
    assert {e.status.value for e in read_run(result.folder).evaluations()} == {"complete"}
    assert with_exits(result).values["macs"] > 0
    images = np.random.default_rng(0).normal(size=(9, *SHAPE)).astype(np.float32)
    with torch.no_grad():
        logits = [x.numpy() for x in item.network.cpu().eval()(torch.from_numpy(images))]
    answers = EarlyExitSession(result.folder / item.record.bundle).predict(images)
    exits = item.record.policy.decide(logits)
    assert [answer.exit for answer in answers] == list(exits)
    assert [answer.label for answer in answers] == [int(logits[e][i].argmax()) for i, e in enumerate(exits)]
    assert "<html" in result.report()


def test_a_run_goes_on_with_the_same_model_only(frozen_search: SearchResult, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(frozen_search.folder, run)
    (run / "report.html").unlink()
    again = offramp.search(model=adopted(freeze=True), run=run, resume=True)
    assert len(again.front) == len(frozen_search.front)
    assert (run / "report.html").exists()
    other = adopted(freeze=True, taps=["stem"])
    with pytest.raises(RunError, match="was begun with another model"):
        offramp.search(model=other, run=run, resume=True)
    with pytest.raises(ConfigError, match="Give it again"):
        offramp.search(run=run, resume=True)


def test_data_that_do_not_fit_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(AdoptError, match=r"images of shape \(3, 8, 8\), the data have \(1, 8, 8\)"):
        offramp.search(model=adopted(), data__source="digits", run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_processes_cannot_build_a_model_given_here(data: str) -> None:
    with pytest.raises(ConfigError, match="which workers cannot build"):
        offramp.search(model=adopted(), data__source=data, execution__workers=2)


def test_freeze_and_weights_are_no_settings_of_a_family() -> None:
    with pytest.raises(ConfigError, match="for backbones from timm"):
        offramp.search(data__source="digits", space__freeze=True)


def test_other_classes_get_a_new_head_and_the_report_says_so(tmp_path: Path) -> None:
    labels = np.arange(90) % 3
    images = np.random.default_rng(0).integers(0, 256, (90, *SHAPE), dtype=np.uint8)
    np.savez(tmp_path / "three.npz", x=images, y=labels)
    result = offramp.search(
        model=adopted(freeze=True), data__source=str(tmp_path / "three.npz"), run=tmp_path / "run", **QUICK
    )
    assert result.finished[0].record.architecture.final_branch == "global_pool"
    assert result.summary is not None
    assert f"The model has {CLASSES} classes, the data 3: it was given a new classifier." in result.summary.warnings


@pytest.mark.parametrize("freeze", [False, True])
def test_exits_of_a_model_of_your_own_may_reuse_earlier_exits(data: str, tmp_path: Path, freeze: bool) -> None:
    """Both exits and the classifier add what was found before; a frozen classifier answers as it always did."""
    quick = QUICK | {"search__algorithm": "random", "space__exit_reuse": "geometric_mean", "fine_tune__match": False}
    result = offramp.search(model=adopted(freeze=freeze), data__source=data, run=tmp_path / "run", **quick)
    (item,) = result.finished
    labels = np.load(data)["y"]
    predictions = EarlyExitSession(tmp_path / "run" / item.record.bundle).predict(np.load(data)["x"])
    assert len(predictions) == len(labels)

    context = build_context(result.config, build_dataset(result.config, SilentReporter()), adopted(freeze=freeze))
    whole = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(0))
    network = context.supernet.extract(whole).eval()
    assert sorted(network.links) == (["1"] if freeze else ["1", "2"])
    images = torch.randn(5, *SHAPE)
    with torch.no_grad():
        linked, alone = network(images), network.without_links()(images)
    # The links begin as ones: an exit adds all that the exit before found.
    torch.testing.assert_close(linked[1], linked[0] + alone[1])
    torch.testing.assert_close(linked[2], alone[2] if freeze else linked[1] + alone[2])
