"""Models of many kinds, cut: the pieces in a row give exactly what the model gives."""

import copy
import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.errors import AdoptError, UnsupportedLayerError
from offramp.nn.adoption.adopt import adopt
from offramp.nn.adoption.adopted_model import AdoptedModel
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.supernet.supernet import Supernet
from offramp.space.cut_networks import static_at
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.workload.graph import Role, Workload
from tests.nn.toy_models import CLASSES, SHAPE, TOYS, Attention, Residual, Toy, Vision, conv, plain

EXAMPLE = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))


def run(pieces: Sequence[nn.Module], images: Tensor) -> Tensor:
    for piece in pieces:
        images = piece(images)
    return images


def warmed(model: nn.Module) -> nn.Module:
    """With batch-norm statistics that matter."""
    model.train()
    with torch.no_grad():
        for seed in range(3):
            model(torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 + 1)
    return model.eval()


def supernet_of(adopted: AdoptedModel, num_classes: int = CLASSES) -> Supernet:
    return Supernet(
        adopted.space(SHAPE), ("pool_linear", "global_pool"), SHAPE, num_classes, seed=0, family=adopted
    ).eval()


def extracted(adopted: AdoptedModel) -> EarlyExitNetwork:
    """All taps with exits, the model's own head at the end."""
    space = EarlyExitSpace(adopted.space(SHAPE), ("global_pool",), final_branch="own_head", max_exits=9)
    architecture = space.with_spread_exits(space.max_architecture(), 9, "global_pool", space.max_architecture().policy)
    return supernet_of(adopted).extract(architecture).eval()


@pytest.mark.parametrize("name", TOYS)
def test_the_cut_model_gives_exactly_what_the_model_gives(name: str) -> None:
    torch.manual_seed(0)
    model = warmed(TOYS[name]())
    adopted = adopt(model, EXAMPLE, max_taps=4)
    assert 1 <= len(adopted.early_taps) <= 4
    network = extracted(adopted)
    assert network.num_exits == len(adopted.taps)
    for batch in (1, 5):
        images = torch.randn(batch, *SHAPE) * 3
        with torch.no_grad():
            expected = model(images.clone())
            assert torch.equal(run([piece.eval() for piece in adopted.pieces], images.clone()), expected)
            logits = network(images.clone())
        assert torch.equal(logits[-1], expected)
        assert all(exit_logits.shape == (batch, CLASSES) for exit_logits in logits)


@pytest.mark.parametrize("name", TOYS)
def test_a_model_cut_at_an_exit_has_nothing_from_behind_it_and_answers_as_the_exit(name: str) -> None:
    torch.manual_seed(0)
    adopted = adopt(warmed(TOYS[name]()), EXAMPLE, max_taps=2)
    network, images = extracted(adopted), torch.randn(3, *SHAPE)
    with torch.no_grad():
        answers = network(images)
        for index in range(len(network.architecture.exits)):
            cut = supernet_of(adopted).extract(static_at(network.architecture, index, (1,) * len(adopted.taps))).eval()
            assert torch.equal(cut(images)[0], answers[index])
            assert sum(p.numel() for p in cut.parameters()) == sum(
                p.numel() for p in network.with_exits((), index, (1,) * len(adopted.taps)).parameters()
            )


@pytest.mark.parametrize("name", TOYS)
def test_every_parameter_and_every_early_exit_learns(name: str) -> None:
    torch.manual_seed(0)
    adopted = adopt(TOYS[name](), EXAMPLE)
    network = extracted(adopted).train()
    torch.manual_seed(1)
    torch.stack([logits.square().sum() for logits in network(torch.randn(6, *SHAPE))]).sum().backward()
    idle = [key for key, p in network.named_parameters() if p.grad is None]
    assert not idle


@pytest.mark.parametrize("name", [name for name in TOYS if name != "a part decides by values"])
def test_every_toy_has_a_price(name: str) -> None:
    adopted = adopt(TOYS[name](), EXAMPLE)
    workload = lower(extracted(adopted))
    static = workload.static().macs_to_exit()[-1]
    shares = [done / static for done in _backbone_macs(workload)]
    assert shares == pytest.approx([tap.macs_share for tap in adopted.taps], abs=0.02)


def _backbone_macs(workload: Workload) -> list[int]:
    stages = [workload.stage_layers(stage, Role.BACKBONE) for stage in range(workload.num_stages)]
    return list(itertools.accumulate(sum(layer.shape.macs for layer in stage) for stage in stages))


def test_a_part_that_decides_by_values_has_no_price() -> None:
    with pytest.raises(UnsupportedLayerError, match="bool: the code decides by the values of a tensor"):
        lower(extracted(adopt(TOYS["a part decides by values"](), EXAMPLE)))


def test_taps_are_where_blocks_end_and_spread_over_the_macs() -> None:
    adopted = adopt(Toy(), EXAMPLE)
    assert [tap.name for tap in adopted.taps] == ["stem", "body.0", "body.1", "body"]
    shares = [tap.macs_share for tap in adopted.taps]
    # stem 3*8*9 MACs a pixel on 64 of them, blocks 2*8*8*9, one linear layer 8*CLASSES.
    stem, block, head = 64 * 3 * 8 * 9, 64 * 2 * 8 * 8 * 9, 8 * CLASSES
    whole = stem + 3 * block + head
    assert shares == pytest.approx([(stem + n * block) / whole for n in range(4)])
    assert adopted.taps[0].layout.features.height == 8


def test_taps_by_name() -> None:
    adopted = adopt(Toy(), EXAMPLE, taps=["body.1", "stem"])
    assert [tap.name for tap in adopted.early_taps] == ["stem", "body.1"]
    with pytest.raises(AdoptError, match=r"cannot be cut behind 'body\.0\.first'\. It can be cut behind: .*body\.0"):
        adopt(Toy(), EXAMPLE, taps=["body.0.first"])


def test_the_number_of_taps_is_bounded() -> None:
    assert len(adopt(plain(), EXAMPLE, max_taps=2).early_taps) == 2


def test_the_model_stays_as_it_was() -> None:
    model = warmed(Toy()).train()
    before = copy.deepcopy(model.state_dict())
    adopted = adopt(model, EXAMPLE, freeze=True)
    supernet_of(adopted).train()
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_frozen_model_learns_nothing_and_keeps_its_statistics() -> None:
    model = warmed(Toy())
    supernet = supernet_of(adopt(model, EXAMPLE, freeze=True))
    space = EarlyExitSpace(supernet.space, ("pool_linear",), final_branch="own_head")
    supernet.activate(
        space.with_spread_exits(space.max_architecture(), 2, "pool_linear", space.max_architecture().policy)
    )
    supernet.train()
    frozen = {key: value.clone() for key, value in supernet.backbone.state_dict().items()}
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1, weight_decay=0.1)
    torch.stack([logits.square().sum() for logits in supernet(EXAMPLE)[:-1]]).sum().backward()
    optimizer.step()
    supernet.recalibrate_batch_norm_([EXAMPLE])
    assert all(torch.equal(frozen[key], value) for key, value in supernet.backbone.state_dict().items())
    assert any(p.grad is not None for p in supernet.taps.parameters())
    with torch.no_grad():
        assert torch.equal(supernet(EXAMPLE)[-1], model(EXAMPLE))


def test_other_classes_get_a_new_head() -> None:
    adopted = adopt(Toy(), EXAMPLE)
    assert "own_head" in supernet_of(adopted).final
    assert "own_head" not in supernet_of(adopted, CLASSES + 1).final


def test_layers_shared_between_pieces_stay_shared() -> None:
    network = extracted(adopt(TOYS["shared"](), EXAMPLE))
    shared = {id(m) for m in network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == m.out_channels == 8}
    assert len(shared) == 1


def test_functional_dropout_drops_in_training_only() -> None:
    network = extracted(adopt(TOYS["functional dropout"](), EXAMPLE))
    images = torch.randn(4, *SHAPE)
    assert torch.equal(network(images)[-1], network(images)[-1])
    network.train()
    assert not torch.equal(network(images)[-1], network(images)[-1])


def test_code_that_asks_for_sizes_is_cut_inside_its_parts() -> None:
    adopted = adopt(TOYS["asks for a value of its size"](), EXAMPLE)
    assert [tap.name for tap in adopted.taps] == ["body.0", "body.1", "body"]
    assert adopted.notes == ()


class Sized(nn.Module):
    """Asserts and computes with sizes as users do; ``head`` makes the logits from the features (batch, 8, 4, 4)."""

    def __init__(self, head: Callable[[Tensor], Tensor], check: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 8), conv(8, 8), nn.Conv2d(8, 8, 3, padding=1)
        self.linear = nn.Linear(128, CLASSES)
        self.head, self.check = head, check

    def forward(self, images: Tensor) -> Tensor:
        self.check(images)
        features = F.max_pool2d(self.c(self.b(self.a(images))), 2)
        return self.linear(self.head(features))


def _all_but_first(features: Tensor) -> int:
    count = 1
    for size in features.size()[1:]:
        count *= size
    return count


def _unpacked(features: Tensor) -> Tensor:
    batch, channels, height, width = features.shape
    return features.reshape(batch, channels * height * width)


def _in_place(features: Tensor) -> Tensor:
    rows = torch.zeros(features.shape[0], 128, device=features.device)
    rows[:, :] = features.reshape(len(features), -1)
    return rows


HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "view(size(0), -1)": lambda x: x.view(x.size(0), -1),
    "view(shape[0], -1)": lambda x: x.view(x.shape[0], -1),
    "reshape(shape[0], shape[1], -1)": lambda x: x.reshape(x.shape[0], x.shape[1], -1).flatten(1),
    "reshape(int(shape[0]), -1)": lambda x: x.reshape(int(x.shape[0]), -1),
    "view(len(x), -1)": lambda x: x.view(len(x), -1),
    "view(-1, product of sizes)": lambda x: x.view(-1, _all_but_first(x)),
    "unpacked": _unpacked,
    "rows": lambda x: torch.stack([row.flatten(1) for row in x.unbind(1)], 1).view(*x.shape[:2], 16).flatten(1),
    "windows": lambda x: x.view(x.size(0) * 2, 4, 4, 4).view(x.shape[0], -1),
    "assigned": _in_place,
    "numel": lambda x: x.view(x.shape[0], x.numel() // x.shape[0]),
}


def _asserted(images: Tensor) -> None:
    assert images.dim() == 4
    assert images.shape[1] == 3, "images, please"


def _raising(images: Tensor) -> None:
    if images.shape[-2:] != (8, 8) or images.size(1) != 3 or images.ndim != 4 or images.dtype != torch.float32:
        raise ValueError("images, please")


def _nothing(images: Tensor) -> None:
    pass


@pytest.mark.parametrize("check", [_nothing, _asserted, _raising])
@pytest.mark.parametrize("head", HEADS)
def test_code_with_sizes_is_cut_whatever_way_it_is_written(head: str, check: Callable[[Tensor], None]) -> None:
    torch.manual_seed(0)
    model = warmed(Sized(HEADS[head], check))
    adopted = adopt(model, EXAMPLE)
    assert [tap.name for tap in adopted.taps][:2] == ["a", "b"]
    network = extracted(adopted)
    for batch in (1, 7):
        images = torch.randn(batch, *SHAPE)
        with torch.no_grad():
            assert torch.equal(network(images)[-1], model(images))
            # Training keeps images in this memory layout, in which torch refuses `view`.
            torch.testing.assert_close(
                network(images.contiguous(memory_format=torch.channels_last))[-1], model(images), rtol=1e-4, atol=1e-5
            )
    assert lower(network).static().macs_to_exit()[-1] == 64 * 9 * (3 * 8 + 2 * 8 * 8) + 128 * CLASSES


def test_a_check_inside_a_part_does_not_hide_its_layers() -> None:
    model = nn.Sequential(Sized(HEADS["unpacked"], _asserted), nn.Identity())
    assert [tap.name for tap in adopt(model, EXAMPLE).taps][:2] == ["0.a", "0.b"]


def test_code_that_does_something_else_in_training_is_named() -> None:
    class Noisy(Toy):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images + torch.randn_like(images) if self.training else images)

    assert "something else in training" in adopt(Noisy(), EXAMPLE).notes[0]


def test_tokens_become_a_map_without_the_class_token() -> None:
    layout = adopt(Vision(), EXAMPLE).taps[0].layout
    assert (layout.kind, layout.prefix) == ("tokens", 1)
    assert (layout.features.channels, layout.features.height, layout.features.width) == (12, 4, 4)


def test_the_fingerprint_tells_models_apart() -> None:
    torch.manual_seed(0)
    model = Toy()
    first = adopt(model, EXAMPLE)
    assert adopt(copy.deepcopy(model), EXAMPLE + 1).fingerprint == first.fingerprint
    assert adopt(model, EXAMPLE, max_taps=1).fingerprint != first.fingerprint
    with torch.no_grad():
        model.head.bias[0] += 1e-6
    assert adopt(model, EXAMPLE).fingerprint != first.fingerprint


class Counting(Toy):
    """Keeps a state between calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(images) + self.calls


class Wired(nn.Module):
    """Every layer sees the image."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(6, 3, 3, padding=1), nn.Linear(3, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.b(torch.cat([self.a(images), images], 1)) + images
        return self.head(x.mean((2, 3)))


def function(forward: Callable[[nn.Module, Tensor], object], *parts: nn.Module) -> nn.Module:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(parts)

        def forward(self, images: Tensor) -> object:
            return forward(self, images)

    return Model()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Counting(), "do not give exactly what it gives"),
        (Wired(), "no other place where one tensor alone goes on"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, CLASSES)), "must be a feature map"),
        (nn.Conv2d(3, 4, 3), r"must give logits \(batch, classes\)"),
        (function(lambda m, x: (m.parts[0](x), x), Toy()), "one tensor of logits"),
        (function(lambda m, x: m.parts[0](x) if x.sum() > 0 else m.parts[0](-x), Toy()), "decides by the values"),
        (function(lambda m, x: m.parts[0](x[:, :1]), Toy()), "must run on the example, but it failed"),
        (function(lambda m, x: m.parts[0](x).reshape(1, -1), Toy()), "must give logits"),
        (function(lambda m, x: m.parts[0](x).view(2, -1), Toy()), "depends on the batch size"),
        (function(lambda m, x: m.parts[0](x if len(x) < 3 else -x), Toy()), "depends on the batch size"),
        (torch.jit.script(plain()), "module of torch.jit"),
        (nn.Sequential(*plain()[:6], torch.jit.script(nn.Sequential(*plain()[6:]))), "its part '6' is a module of"),
        (torch.compile(plain()), "compiled with torch.compile"),
        (function(lambda m, x: m.parts[0](F.dropout(x)), Toy()), "draws random numbers"),
        (nn.Sequential(nn.LazyConv2d(4, 3), *plain()[1:]), "'0.weight' has none: it belongs to a lazy module"),
        (nn.Sequential(*plain()[:6], nn.LazyLinear(CLASSES)), "'6.weight' has none: it belongs to a lazy module"),
        (plain().to("meta"), "'0.weight' lies on the device 'meta'"),
    ],
)
def test_a_model_that_cannot_be_cut_says_why(model: nn.Module, message: str) -> None:
    with pytest.raises(AdoptError, match=message):
        adopt(model, EXAMPLE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"module": "resnet"}, "must be a torch.nn.Module"),
        ({"example": EXAMPLE[0]}, r"3 axes is a batch of series \(batch, channels, steps\); images have 4"),
        ({"example": (2, 3, 8, 8)}, "got tuple"),
        ({"max_taps": 0}, "max_taps"),
        ({"taps": []}, "at least one"),
        ({"taps": "stem"}, "names of modules"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"module": Toy(), "example": EXAMPLE} | arguments
    with pytest.raises(AdoptError, match=message):
        adopt(**given)  # type: ignore[arg-type]


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(AdoptError, match=r"images of shape \(3, 8, 8\), the data have \(1, 8, 8\)"):
        adopt(Toy(), EXAMPLE).space((1, 8, 8))


def test_helpers_are_models_of_their_own() -> None:
    assert isinstance(conv(3, 4), nn.Module)
    assert F.relu(Residual(8)(torch.zeros(1, 8, 4, 4))).shape == (1, 8, 4, 4)
    assert Attention(12)(torch.zeros(1, 5, 12)).shape == (1, 5, 12)


class Expanded(nn.Module):
    """Adds a buffer whose elements all lie at one address."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.ones(1, 1, 1, 1).expand(1, 8, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.shift


def test_an_expanded_buffer_gets_memory_of_its_own() -> None:
    model = nn.Sequential(conv(3, 8), Residual(8), Expanded(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    network = extracted(adopt(model, EXAMPLE))
    network.load_state_dict({name: value + 1 for name, value in network.state_dict().items()})
    (shift,) = (value for name, value in network.state_dict().items() if name.endswith("shift"))
    assert shift.flatten().tolist() == [2.0] * 8


@dataclass
class ModelOutput(OrderedDict[str, Tensor]):
    """Stands in for the outputs of transformers, which are dictionaries with attributes."""

    logits: Tensor
    hidden_states: None = None

    def __post_init__(self) -> None:
        self["logits"] = self.logits


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits: ModelOutput(logits=logits),
        lambda logits: {"logits": logits},
        lambda logits: (logits,),
        lambda logits: SimpleNamespace(logits=logits, loss=None),
    ],
)
def test_logits_inside_an_object_are_found(wrap: Callable[[Tensor], object]) -> None:
    toy = Toy().eval()
    adopted = adopt(function(lambda m, x: wrap(m.parts[0](x)), toy), EXAMPLE)
    assert [tap.name for tap in adopted.taps][:2] == ["parts.0.body.0", "parts.0.body.1"]
    assert torch.equal(run([piece.eval() for piece in adopted.pieces], EXAMPLE), toy(EXAMPLE))


def test_a_model_wrapped_for_several_devices_is_that_model() -> None:
    assert [tap.name for tap in adopt(nn.DataParallel(Toy()), EXAMPLE).taps][:2] == ["stem", "body.0"]


class Raising(Toy):
    """Works on the first call alone."""

    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > 6:
            raise RuntimeError("out of order\nand more")
        return super().forward(images)


def test_an_error_in_the_code_of_the_model_is_one_of_adoption() -> None:
    with pytest.raises(AdoptError, match=r"out of order\)"):
        adopt(Raising(), EXAMPLE)


class TupleBlock(nn.Module):
    """Returns features and attention weights, as the blocks of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Attention(12)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.block(tokens), mask


class Encoder(nn.Module):
    """Stands in for an encoder of transformers: outputs are objects, and sizes come from a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TupleBlock() for _ in range(3))

    def forward(self, tokens: Tensor, *, all_states: bool = False) -> ModelOutput:
        mask = torch.ones(tokens.shape[:2], device=tokens.device)[:, :, None]
        if not bool(mask.all()):
            raise ValueError("masked tokens")
        for layer in self.layers:
            tokens = layer(tokens, mask=mask)[0]
        return ModelOutput(logits=tokens)


class HubModel(nn.Module):
    """Stands in for a classifier of transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.encoder, self.head = nn.Conv2d(3, 12, 2, 2), Encoder(), nn.Linear(12, CLASSES)
        self.pool = nn.AdaptiveAvgPool1d(1)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **options: bool) -> ModelOutput:
        tokens = self.patches(pixel_values).flatten(2).transpose(1, 2)
        states = self.encoder(tokens, **options).logits
        return ModelOutput(logits=self.head(self.pool(states.transpose(1, 2)).flatten(1)))


def test_a_model_like_those_of_transformers_is_cut_at_its_blocks() -> None:
    torch.manual_seed(0)
    model = HubModel().eval()
    adopted = adopt(model, EXAMPLE)
    assert [tap.name for tap in adopted.taps][:2] == ["encoder.layers.0", "encoder.layers.1"]
    network = extracted(adopted)
    images = torch.randn(5, *SHAPE)
    with torch.no_grad():
        assert torch.equal(network(images)[-1], model(images).logits)
    # 16 tokens of 12 values: patches, per block 4 linear maps and two products of 16x16 tokens, the classifier.
    block = 16 * 4 * 12 * 12 + 2 * 16 * 16 * 12
    assert lower(network).static().macs_to_exit()[-1] == 16 * 12 * 12 + 3 * block + 12 * CLASSES
