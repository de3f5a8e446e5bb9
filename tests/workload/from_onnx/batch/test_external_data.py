"""Constants with an entry per sample that lie in another file, as the new exporter of torch writes them."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.conversion import OnnxNetwork, network_from_onnx
from tests.workload.from_onnx.onnx_samples import Net


def with_class_token(folder: Path, token: np.ndarray) -> Path:
    """A class token for each of 4 samples before 5 tokens of 8 values, and a dense layer; all weights lie elsewhere."""
    net = Net((4, 5, 8))
    joined = net.op("Concat", net.constant(token), net.input, axis=1)
    model = net.exit(net.op("MatMul", joined, net.weight(8, 3))).model()
    path = folder / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.data", size_threshold=0)
    assert all(tensor.external_data for tensor in onnx.load(path, load_external_data=False).graph.initializer)
    return path


def priced(path: Path) -> OnnxNetwork:
    return network_from_onnx(path)


def test_a_token_that_is_the_same_for_all_samples_is_one_of_them(tmp_path: Path) -> None:
    same = np.repeat(np.arange(8, dtype=np.float32).reshape(1, 1, 8), 4, 0)
    network = priced(with_class_token(tmp_path, same))
    assert network.workload.macs_to_exit() == (6 * 8 * 3,)
    assert any("batch of 4" in note for note in network.notes)


def test_tokens_that_differ_make_the_input_one_sample(tmp_path: Path) -> None:
    network = priced(with_class_token(tmp_path, np.arange(32, dtype=np.float32).reshape(4, 1, 8)))
    assert network.workload.macs_to_exit() == (4 * 6 * 8 * 3,)
    assert any("is no batch axis" in note for note in network.notes)


@pytest.mark.parametrize("damage", ["missing", "short", "link"])
def test_a_content_that_cannot_be_read_is_not_guessed(tmp_path: Path, damage: str) -> None:
    path = with_class_token(tmp_path, np.zeros((4, 1, 8), np.float32))
    data = tmp_path / "weights.data"
    content = data.read_bytes()
    data.unlink()
    if damage == "short":
        data.write_bytes(content[:40])
    if damage == "link":
        (tmp_path / "other").write_bytes(content)
        data.symlink_to(tmp_path / "other")
    with pytest.raises(WorkloadError, match=r"cannot be followed through t0 \(Concat\), since the content of 'w0'"):
        priced(path)
