"""Active bit widths of a supernet: quantisers of every layer and between its parts."""

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from offramp.nn.backbone import ActiveBlock
from offramp.nn.branches.exit_branch import ElasticBranch
from offramp.nn.elastic.elastic_layers import ElasticConvNorm, ElasticLinear
from offramp.nn.elastic.elastic_quantizer import ActivationQuantizer, QuantizerFormats, choose_activations
from offramp.space.architecture import FLOAT_BITS, Architecture, Precision


class SupernetQuantizers(nn.Module):
    """Steps for what stands between layers: block outputs and branch inputs, by tap; the layers have their own.

    As in a prepared network, a block that ends in an addition has a grid behind it, and a branch narrows its input
    where that is wider than its own activations.
    """

    def __init__(self, supernet: nn.Module, precisions: Sequence[Precision], num_taps: int) -> None:
        super().__init__()
        formats = QuantizerFormats(precisions)
        for module in list(supernet.modules()):
            if isinstance(module, ElasticConvNorm | ElasticLinear):
                module.make_quantizable_(formats)
        self.blocks = nn.ModuleList(_or_identity(formats.for_activations()) for _ in range(num_taps))
        self.entries = nn.ModuleList(_or_identity(formats.for_activations()) for _ in range(num_taps))

    def choose(
        self,
        backbone: nn.Module,
        architecture: Architecture,
        blocks: Sequence[ActiveBlock],
        branches: Mapping[int, ElasticBranch],
    ) -> None:
        """Compute at the bit widths of ``architecture``; ``branches`` by tap, in order, the final one last."""
        stem = getattr(backbone, "stem", None)
        if isinstance(stem, ElasticConvNorm):
            stem.choose_precision(architecture.precision)
        written: dict[int, int] = {}
        places = ((stage, block) for stage in architecture.stages for block in range(stage.depth))
        for active, (stage, index) in zip(blocks, places, strict=True):
            precisions = stage.block_precisions(index, architecture.precision)
            active.block.choose_precisions(precisions)
            bits = precisions[-1].activation_bits
            choose_activations(self._at(self.blocks, active.tap), bits)
            written[active.tap] = bits
        for index, (tap, branch) in enumerate(branches.items()):
            precision = architecture.exit_precision(index)
            for module in branch.modules():
                if isinstance(module, ElasticConvNorm | ElasticLinear):
                    module.choose_precision(precision)
            narrower = precision.activation_bits < written[tap]
            choose_activations(self._at(self.entries, tap), precision.activation_bits if narrower else FLOAT_BITS)

    def block_output(self, active: ActiveBlock, features: Tensor) -> Tensor:
        return features if active.block.ends_in_layer else cast(Tensor, self.blocks[active.tap](features))

    def branch_input(self, tap: int, features: Tensor) -> Tensor:
        return cast(Tensor, self.entries[tap](features))

    @staticmethod
    def _at(modules: nn.ModuleList, tap: int) -> ActivationQuantizer | None:
        module = modules[tap]
        return module if isinstance(module, ActivationQuantizer) else None


def _or_identity(module: nn.Module | None) -> nn.Module:
    return module or nn.Identity()
