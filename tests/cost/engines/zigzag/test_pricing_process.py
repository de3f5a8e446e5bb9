import subprocess
import sys

import pytest

from offramp import jsonio
from offramp.cost.engines.zigzag import pricing_process as zigzag_worker
from offramp.cost.engines.zigzag.pricing_process import Answer, Job, answer_job, answer_jobs
from offramp.cost.engines.zigzag.zigzag_call import ZigzagSettings
from offramp.cost.report import LayerCost
from offramp.errors import ConfigError, OfframpError
from offramp.hardware.accelerator import Core
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import LayerShape
from tests.cost.toys import dense, pool

POOLING = load_accelerator("edge-tpu-quad").core("pooling")


def job(channels: int = 8) -> Job:
    return Job(pool(channels, 8, 2), POOLING, ZigzagSettings(4, 1))


def test_answers_keep_the_order_of_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = answer_jobs([job(8), job(16), job(24)], 1)
    assert answer_jobs([job(8), job(16), job(24)], 2) == alone
    assert [answer.cost is not None for answer in alone] == [True, True, True]


def test_whatever_zigzag_raises_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_shape: LayerShape, _core: Core, _settings: ZigzagSettings) -> LayerCost:
        raise AssertionError("no room\nfor this")

    monkeypatch.setattr(zigzag_worker, "price_layer", fails)
    assert answer_job(job()) == Answer(None, "AssertionError: no room")


def test_own_errors_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_shape: LayerShape, _core: Core, _settings: ZigzagSettings) -> LayerCost:
        raise ConfigError("install it")

    monkeypatch.setattr(zigzag_worker, "price_layer", fails)
    with pytest.raises(ConfigError):
        answer_job(job())


def test_worker_that_dies_is_an_error_and_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    def dying() -> "subprocess.Popen[str]":
        code = "import sys; sys.stdin.readline(); sys.exit(3)"
        pipe = subprocess.PIPE
        started.append(subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    monkeypatch.setattr(zigzag_worker, "_start_worker", dying)
    with pytest.raises(OfframpError, match="ended unexpectedly"):
        answer_jobs([job(8), job(16)], 2)
    assert all(process.poll() is not None for process in started)


def test_jobs_and_answers_survive_json() -> None:
    sent = Job(dense(16), POOLING, ZigzagSettings())
    assert jsonio.loads(Job, jsonio.dumps(sent)) == sent
    assert jsonio.loads(Answer, jsonio.dumps(Answer(None, "why"))) == Answer(None, "why")
