"""Active bit widths of a supernet: the quantisers in its layers and between its parts."""

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from offramp.nn.backbone import ActiveBlock
from offramp.nn.branches.exit_branch import ElasticBranch
from offramp.nn.elastic.elastic_layers import ElasticConvNorm, ElasticLinear
from offramp.nn.elastic.elastic_quantizer import ActivationQuantizer, QuantizerFormats, choose_activations
from offramp.space.architecture import FLOAT_BITS, Architecture, Precision


class SupernetQuantizers(nn.Module):
    """The quantisers of block outputs and branch inputs at every tap.

    They match those of a prepared network: the output of a block is quantised if the block ends in an addition, and the
    input of a branch is quantised if the branch has narrower activations than the block.
    """

    def __init__(self, supernet: nn.Module, precisions: Sequence[Precision], num_taps: int) -> None:
        """Add quantisers to all elastic layers, and make those of block outputs and branch inputs.

        Args:
            supernet: the supernet, whose layers get quantisers.
            precisions: the bit widths that may be chosen.
            num_taps: number of taps, the one of the final classifier included.
        """
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
        """Set the bit widths of the stem, the blocks and the branches.

        Args:
            backbone: the backbone, whose stem takes the precision of the architecture.
            architecture: holds the bit widths.
            blocks: the active blocks, in order.
            branches: tap numbers to the active branches, in order, the final one last.
        """
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
        """Quantise the output of a block, unless its last layer has done so.

        Args:
            active: the block.
            features: (batch, channels, height, width).

        Returns:
            The features at the bit width of the block.
        """
        return features if active.block.ends_in_layer else cast(Tensor, self.blocks[active.tap](features))

    def branch_input(self, tap: int, features: Tensor) -> Tensor:
        """Quantise the input of a branch if it has narrower activations than the block before it.

        Args:
            tap: number of the branch's tap.
            features: (batch, channels, height, width).

        Returns:
            The input of the branch.
        """
        return cast(Tensor, self.entries[tap](features))

    @staticmethod
    def _at(modules: nn.ModuleList, tap: int) -> ActivationQuantizer | None:
        module = modules[tap]
        return module if isinstance(module, ActivationQuantizer) else None


def _or_identity(module: nn.Module | None) -> nn.Module:
    return module or nn.Identity()
