import pytest

from offramp.cost.operator_rules import RULE_OPS, rule_cost
from offramp.hardware.accelerator import CoreKind
from offramp.workload.layer import LayerShape, Op
from tests.cost.toys import conv, core


def test_activation_is_free() -> None:
    cost = rule_cost(LayerShape(Op.ACTIVATION, g=8, oy=4, ox=4), core("npu", CoreKind.COMPUTE))
    assert cost.latency_cycles == cost.energy_pj == 0.0


def test_concatenation_reads_and_writes_every_bit_once() -> None:
    # 9 channels x 4 x 4 x 8 bits = 1152 bits = 18 accesses of 64 bits at 1 pJ read and 2 pJ write.
    cost = rule_cost(LayerShape(Op.CONCAT, g=9, oy=4, ox=4), core("npu", CoreKind.COMPUTE))
    assert cost.latency_cycles == 18.0
    assert cost.energy_pj == 18 * 1.0 + 18 * 2.0
    assert {x.operand for x in cost.memory_energy} == {"I", "O"}


def test_rules_are_for_their_operators_only() -> None:
    assert Op.CONV not in RULE_OPS
    with pytest.raises(ValueError, match="no stated rule"):
        rule_cost(conv(), core("npu", CoreKind.COMPUTE))
