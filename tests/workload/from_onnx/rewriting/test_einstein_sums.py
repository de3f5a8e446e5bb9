"""Einstein sums are the matrix products that they write."""

from collections.abc import Callable
from pathlib import Path

import pytest

from offramp.errors import UnsupportedLayerError
from offramp.workload.layer import LayerShape, Op
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx


def shapes(net: Net, output: str, tmp_path: Path) -> list[LayerShape]:
    workload = workload_from_onnx(net.exit(output).save(tmp_path))
    return [layer.shape for layer in workload.layers]


@pytest.mark.parametrize(
    ("equation", "weight", "expected"),
    [
        ("bhtd,de->bhte", (8, 5), LayerShape(Op.DENSE, b=2 * 6, k=5, c=8)),
        ("...d,de->...e", (8, 5), LayerShape(Op.DENSE, b=2 * 6, k=5, c=8)),
        ("bhtd,ed", (5, 8), LayerShape(Op.DENSE, b=2 * 6, k=5, c=8)),
        ("bhtd,hde->bhte", (2, 8, 5), LayerShape(Op.CONV, g=2, k=5, c=8, oy=6, iy=6)),
        ("bhtd,hde->bte", (2, 8, 5), LayerShape(Op.DENSE, b=6, k=5, c=16)),
    ],
)
def test_a_product_with_weights(tmp_path: Path, equation: str, weight: tuple[int, ...], expected: LayerShape) -> None:
    net = Net((1, 2, 6, 8))
    assert shapes(net, net.op("Einsum", net.input, net.weight(*weight), equation=equation), tmp_path) == [expected]


def test_weights_may_come_first(tmp_path: Path) -> None:
    net = Net((1, 4, 6, 6))
    out = net.op("Einsum", net.weight(5, 4), net.input, equation="ij,bjhw->bihw")
    assert shapes(net, out, tmp_path) == [LayerShape(Op.DENSE, b=36, k=5, c=4)]


ATTENTION: dict[str, tuple[Callable[[Net, str, str], str], Callable[[Net, str, str], str]]] = {
    "scores": (
        lambda n, a, b: n.op("Einsum", a, b, equation="bhid,bhjd->bhij"),
        lambda n, a, b: n.op("MatMul", a, n.op("Transpose", b, perm=[0, 1, 3, 2])),
    ),
    "values": (
        lambda n, a, b: n.op("Einsum", n.op("Softmax", a, axis=-1), b, equation="bhij,bhjd->bhid"),
        lambda n, a, b: n.op("MatMul", n.op("Softmax", a, axis=-1), b),
    ),
}


@pytest.mark.parametrize("part", ATTENTION)
def test_a_product_of_two_computed_tensors(tmp_path: Path, part: str) -> None:
    found = []
    for build in ATTENTION[part]:
        net = Net((1, 2, 8, 8))
        a, b = (net.op("MatMul", net.input, net.weight(8, 8)) for _ in range(2))
        found.append(shapes(net, build(net, a, b), tmp_path))
    assert found[0] == found[1]
    assert found[0][-1].macs == 2 * 8 * 8 * 8


def test_three_operands_are_multiplied_one_after_the_other(tmp_path: Path) -> None:
    net = Net((1, 6, 8))
    out = net.op("Einsum", net.input, net.weight(8, 5), net.weight(5, 3), equation="btd,de,ef->btf")
    assert [shape.macs for shape in shapes(net, out, tmp_path)] == [6 * 8 * 5, 6 * 5 * 3]


def test_a_permutation_is_free_and_a_sum_is_a_reduction(tmp_path: Path) -> None:
    net = Net((1, 4, 6, 6))
    conv = net.conv(net.input, 4, 4, name="conv")
    turned = net.op("Einsum", conv, equation="bchw->bhwc")
    found = shapes(net, net.op("Einsum", turned, equation="bhwc->bc"), tmp_path)
    assert [(shape.op, shape.num_outputs) for shape in found] == [(Op.CONV, 144), (Op.AVG_POOL, 4)]


def test_an_element_wise_product(tmp_path: Path) -> None:
    net = Net((1, 4, 6, 6))
    gate = net.op("GlobalAveragePool", net.conv(net.input, 4, 4))
    pooled = net.op("Flatten", gate)
    found = shapes(net, net.op("Einsum", net.input, pooled, equation="bchw,bc->bchw"), tmp_path)
    assert (found[-1].op, found[-1].num_outputs) == (Op.MULTIPLY, 144)


@pytest.mark.parametrize("equation", ["bcdd->bc", "bchw,ij->bchw"])
def test_what_has_no_rule_is_named(tmp_path: Path, equation: str) -> None:
    net = Net((1, 4, 6, 6))
    out = net.op("Einsum", net.conv(net.input, 4, 4), equation=equation, name="sum")
    with pytest.raises(UnsupportedLayerError, match=r"sum \(Einsum\)"):
        shapes(net, out, tmp_path)
