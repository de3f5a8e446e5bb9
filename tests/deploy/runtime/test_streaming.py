"""An iterator in, an iterator out; rules that look back; many threads at once."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from offramp.deploy.bundle.export_bundle import ExportRecord
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import DataError, InputError
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.exit_rule import ExitRule
from offramp.exits.rules.cumulative import CumulativeConfidence
from offramp.nn.network import EarlyExitNetwork
from tests.deploy import toys
from tests.deploy.bundle.test_bundle_rules import LOOKING_BACK
from tests.deploy.conftest import Export


@pytest.fixture(scope="module")
def session(record: ExportRecord) -> EarlyExitSession:
    return EarlyExitSession(record.path)


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_stream_answers_as_the_same_samples_at_once(
    session: EarlyExitSession, batch_size: int, prefetch: int
) -> None:
    inputs = toys.samples(11)
    found = list(session.stream(iter(inputs), batch_size=batch_size, prefetch=prefetch))
    for ours, theirs in zip(found, session.predict(inputs, batch_size=batch_size), strict=True):
        assert (ours.label, ours.exit) == (theirs.label, theirs.exit)
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-6)
    assert list(session.stream([], batch_size=batch_size, prefetch=prefetch)) == []


def test_an_endless_stream_is_read_only_as_far_as_asked(session: EarlyExitSession) -> None:
    taken = []

    def samples() -> Iterator[Any]:
        for index in itertools.count():
            taken.append(index)
            yield toys.samples(1, seed=index)[0]

    answers = session.stream(samples())
    assert taken == []
    next(answers)
    next(answers)
    assert taken == [0, 1]
    batched = session.stream(samples(), batch_size=3)
    taken.clear()
    next(batched)
    assert taken == [0, 1, 2]


def test_paths_pixels_and_floats_may_be_mixed(session: EarlyExitSession, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=toys.INPUT_SHAPE, dtype=np.uint8)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / "a.png")
    samples = [tmp_path / "a.png", str(tmp_path / "a.png"), pixels, session.prepare(pixels[None])[0]]
    found = list(session.stream(samples, batch_size=4))
    assert len({(answer.label, answer.exit) for answer in found}) == 1


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_wrong_sample_stops_the_stream_after_those_before_it(session: EarlyExitSession, prefetch: int) -> None:
    good = list(toys.samples(5))
    answers = session.stream([*good, Path("missing.png"), *good], batch_size=4, prefetch=prefetch)
    assert [next(answers).class_name for _ in range(5)]
    with pytest.raises(DataError, match=r"missing\.png"):
        next(answers)
    with pytest.raises(InputError, match="shape"):
        list(session.stream([good[0][:, :-1]], prefetch=prefetch))
    for wrong in ({"batch_size": 0}, {"prefetch": -1}):
        with pytest.raises(InputError, match="must be >="):
            session.stream([], **wrong)


def test_many_threads_predict_and_stream_on_one_session(session: EarlyExitSession) -> None:
    inputs = toys.samples(120, seed=5)
    wanted = [(answer.label, answer.exit) for answer in session.predict(inputs)]
    start = threading.Barrier(6)

    def work(index: int) -> list[tuple[int, int]]:
        start.wait()
        rows = inputs[index * 20 : (index + 1) * 20]
        answers = session.stream(rows, prefetch=index % 3) if index % 2 else session.predict(rows, batch_size=7)
        return [(answer.label, answer.exit) for answer in answers]

    for _ in range(3):
        with ThreadPoolExecutor(6) as pool:
            assert [pair for part in pool.map(work, range(6)) for pair in part] == wanted


RULES: list[ExitRule] = [*LOOKING_BACK, ExitPolicy("margin", (0.5, 0.6))]


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("batch_size", [1, 16])
def test_rules_decide_as_on_the_networks_own_logits(
    record: ExportRecord, network: EarlyExitNetwork, rule: ExitRule, batch_size: int
) -> None:
    inputs = toys.samples(150, seed=21)
    logits = toys.logits_of(network, inputs)
    wanted = rule.decide(logits)
    found = EarlyExitSession(record.path, rule=rule).predict(inputs, batch_size=batch_size)
    assert [answer.exit for answer in found] == wanted.tolist()
    assert [answer.label for answer in found] == [int(logits[e][i].argmax()) for i, e in enumerate(wanted)]


def test_a_rule_for_another_number_of_exits_is_refused(record: ExportRecord) -> None:
    for rule in (ExitPolicy("margin", (0.5,)), CumulativeConfidence((0.5, 0.5, 0.5))):
        with pytest.raises(InputError, match="must have 2 thresholds"):
            EarlyExitSession(record.path, rule=rule)


class _Fixed:
    """A rule of somebody's own: everybody leaves at the second exit."""

    num_exits = None

    def leaves(self, logits: Sequence[NDArray[np.floating]]) -> NDArray[np.bool_]:
        return np.full(len(logits[0]), len(logits) == 2)

    def decide(self, logits: Sequence[NDArray[np.floating]]) -> NDArray[np.intp]:
        return np.full(len(logits[0]), 1)


def test_rules_of_ones_own_work_in_a_session_and_cannot_be_written(
    record: ExportRecord, network: EarlyExitNetwork, quick_export: Export, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"got _Fixed.*rule="):
        quick_export(network, tmp_path / "bundle", policy=_Fixed())
    assert not (tmp_path / "bundle").exists()
    answers = EarlyExitSession(record.path, rule=_Fixed()).predict(toys.samples(4))
    assert [answer.exit for answer in answers] == [1] * 4
