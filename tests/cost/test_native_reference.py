"""The reference evaluation again, every layer priced by the native engine: all networks, all precisions."""

import time

import pytest

from offramp.cost.native_engine import NativeEngine
from tests.cost.test_reference import REFERENCE, cases, check, report_of

pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference data lies in ../shared, which is absent")


def test_every_stage_of_every_network_to_the_cycle() -> None:
    engine = NativeEngine()
    assert len(cases()) >= 10
    for case in cases():
        check(case, report_of(case, engine))


def test_networks_that_share_layers_are_priced_at_once() -> None:
    engine = NativeEngine()
    case = cases()[0]
    report_of(case, engine)
    start = time.process_time()
    jobs = len(report_of(case, engine).layers)
    assert time.process_time() - start < 1.0, f"{jobs} known layers"
