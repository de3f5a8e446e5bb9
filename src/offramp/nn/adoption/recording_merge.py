"""Two recordings of one model, on batches of different sizes, as one graph for all batch sizes."""

import operator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx

SHAPE = "shape"
"""Key of a tensor's shape, for the example batch, in the `meta` of its node."""
_RESHAPES = ("view", "reshape")


class UnfollowedCodeError(Exception):
    """The code of a module cannot be recorded.

    Attributes:
        module: Path of the module; empty for the root.
    """

    def __init__(self, reason: str, module: str) -> None:
        """Keep the path beside the message.

        Args:
            reason: Why the code cannot be recorded, a sentence.
            module: Path of the module; empty for the root.
        """
        super().__init__(reason)
        self.module = module


@dataclass
class Recording:
    """The calls of one run.

    Attributes:
        graph: The calls.
        outputs: For each node, the paths of the modules whose result it is, the outermost last.
        places: For each node, the path of the module whose code made the call.
        constants: Tensors that come neither from the images nor from the model, by name.
    """

    graph: fx.Graph
    outputs: dict[fx.Node, list[str]] = field(default_factory=dict)
    places: dict[fx.Node, str] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)


def merged(first: Recording, second: Recording, batches: tuple[int, int]) -> frozenset[fx.Node]:
    """Make the graph of the first recording hold for every batch size and device.

    Args:
        first: The recording whose graph is changed.
        second: The recording with the other batch size.
        batches: The two batch sizes.

    Returns:
        The nodes that ask the images for their number or their device.

    Raises:
        UnfollowedCodeError: The calls differ in another way than by multiples of the batch size.
    """
    return _Merge(first, second, batches).run()


class _Merge:
    def __init__(self, first: Recording, second: Recording, batches: tuple[int, int]) -> None:
        self.first, self.second, self.batches = first, second, batches
        self.same: dict[fx.Node, fx.Node] = {}
        self.facts: dict[str, fx.Node] = {}
        self.multiples: dict[int, fx.Node] = {}
        self.node = next(iter(first.graph.nodes))

    def run(self) -> frozenset[fx.Node]:
        nodes, others = list(self.first.graph.nodes), list(self.second.graph.nodes)
        for self.node, other in zip(nodes, others, strict=False):
            if (self.node.op, self.node.target) != (other.op, other.target):
                raise self.unfollowed()
            self.same[other] = self.node
            self.node.args = self.value(self.node.args, other.args)
            self.node.kwargs = self.value(self.node.kwargs, other.kwargs)
            self.settle_reshape(other)
            if self.node.op == "get_attr" and self.node.target in self.first.constants:
                self.check_constant(str(self.node.target))
        if len(nodes) != len(others):
            raise self.unfollowed()
        # Changes of shape no longer need the sizes that they were given.
        added = [*self.multiples.values(), *reversed(self.facts.values())]
        for node in added:
            if not node.users:
                self.first.graph.erase_node(node)
        return frozenset(node for node in self.facts.values() if not node._erased)

    def unfollowed(self) -> UnfollowedCodeError:
        place = self.first.places.get(self.node, "")
        return UnfollowedCodeError("its code depends on the batch size in a way that cannot be followed", place)

    def value(self, first: Any, second: Any) -> Any:
        if isinstance(first, torch.device):
            return self.fact("device")
        if type(first) is not type(second):
            raise self.unfollowed()
        if isinstance(first, fx.Node):
            agree = self.same.get(second) is first
        elif isinstance(first, list | tuple | dict | slice):
            return self.container(first, second)
        elif type(first) is int and first != second:
            return self.multiple(first, second)
        else:
            agree = first is second or bool(first == second)
        if not agree:
            raise self.unfollowed()
        return first

    def container(self, first: Any, second: Any) -> Any:
        if isinstance(first, slice):
            ends = ((first.start, second.start), (first.stop, second.stop), (first.step, second.step))
            return slice(*(self.value(one, other) for one, other in ends))
        if len(first) != len(second) or (isinstance(first, dict) and first.keys() != second.keys()):
            raise self.unfollowed()
        if isinstance(first, dict):
            return {key: self.value(item, second[key]) for key, item in first.items()}
        items = [self.value(one, other) for one, other in zip(first, second, strict=True)]
        return items if isinstance(first, list) else tuple(items)

    def multiple(self, first: int, second: int) -> fx.Node:
        """The node of a multiple of the batch size."""
        small, large = self.batches
        factor, rest = divmod(first, small)
        if rest or factor * large != second:
            raise self.unfollowed()
        if factor not in self.multiples:
            batch = self.fact("batch")
            if factor == 1:
                return batch
            with self.first.graph.inserting_after(batch):
                self.multiples[factor] = self.first.graph.call_function(operator.mul, (batch, factor))
        return self.multiples[factor]

    def fact(self, name: Literal["batch", "device"]) -> fx.Node:
        if name not in self.facts:
            graph = self.first.graph
            images = next(node for node in graph.nodes if node.op == "placeholder")
            with graph.inserting_after(images):
                if name == "device":
                    self.facts[name] = graph.call_function(getattr, (images, "device"))
                else:
                    self.facts[name] = graph.call_method("size", (images, 0))
        return self.facts[name]

    def settle_reshape(self, other: fx.Node) -> None:
        """Write the sizes of a change of shape as numbers, with -1 for the one that depends on the batch size.

        The result of ``view`` depends on the memory layout of its input, and that of ``reshape`` does not.
        """
        node = self.node
        if node.op != "call_method" or node.target not in _RESHAPES or isinstance(node.args[-1], torch.dtype):
            return
        node.target = "reshape"
        shape, larger = node.meta[SHAPE], other.meta[SHAPE]
        varying = [axis for axis, (one, two) in enumerate(zip(shape, larger, strict=False)) if one != two]
        if len(shape) == len(larger) and len(varying) <= 1 and 0 not in shape:
            node.args = (node.args[0], tuple(-1 if axis in varying else size for axis, size in enumerate(shape)))
            node.kwargs = {}

    def check_constant(self, name: str) -> None:
        one, other = self.first.constants[name], self.second.constants.get(name)
        if other is None or one.shape != other.shape or not torch.equal(one, other):
            raise self.unfollowed()
