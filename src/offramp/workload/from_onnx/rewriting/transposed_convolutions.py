"""Transposed convolutions as convolutions.

The rows of the result fall into as many phases as the stride: rows with the same remainder see the same taps of the
kernel. So a transposed convolution is one convolution with stride 1 for each phase, whose results are interleaved
(Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4; Shi et al., "Is the
deconvolution layer the same as a convolutional layer?", 2016). Each value of the input meets each weight once, which is
how counters of FLOPs count it. Phases with equally many taps are one convolution with more channels. Where a stride
does not divide the kernel, the phases differ and are interleaved by a concatenation.
"""

from collections import Counter
from itertools import product

from offramp.workload.from_onnx.rewriting.node_writer import NodeWriter, RewriteRule
from offramp.workload.from_onnx.tensor_sizes import Unpriceable


def _transposed_convolution(writer: NodeWriter) -> bool:
    node = writer.node
    source, weight = writer.known(writer.input(0)), writer.known(writer.input(1))
    kernel = weight[2:]
    if writer.input(1) in writer.active or writer.input(2) in writer.active:
        raise Unpriceable("must have weights and a bias that do not depend on the input")
    if len(kernel) not in (1, 2) or len(source) != len(weight):
        raise Unpriceable(f"has a window with {len(kernel)} axes; 1 or 2 are understood")
    groups, ones = node.integer("group", 1), (1,) * len(kernel)
    strides, dilations = node.integers("strides", ones), node.integers("dilations", ones)
    if min(groups, *strides, *dilations) < 1 or len(strides) != len(kernel) or len(dilations) != len(kernel):
        raise Unpriceable("must have groups, strides and dilations of at least 1, one per axis of the kernel")
    phases = Counter(product(*map(_taps, kernel, strides, dilations)))
    results = []
    for taps, count in sorted(phases.items(), reverse=True):
        channels = weight[1] * groups * count
        part = writer.constant((channels, weight[0] // groups, *taps))
        pads = (*(size - 1 for size in taps), *(0 for _ in taps))
        attributes = {"kernel_shape": taps, "pads": pads, "group": groups}
        shape = (source[0], channels, *source[2:])
        if len(phases) == 1:
            results.append(writer.write_main("Conv", (writer.input(0), part), shape, **attributes))
        else:
            label = "x".join(map(str, taps))
            results.append(writer.write("Conv", (writer.input(0), part), shape, label, **attributes))
    if len(phases) == 1:
        writer.finish("DepthToSpace", results, label="interleave")
    else:
        writer.finish("Concat", results, axis=1)
    return True


def _taps(kernel: int, stride: int, dilation: int) -> list[int]:
    """Numbers of taps of the phases of one axis, without phases that no tap reaches."""
    return list(Counter(tap * dilation % stride for tap in range(kernel)).values())


TRANSPOSED_RULES: dict[str, RewriteRule] = {"ConvTranspose": _transposed_convolution}
"""The rule by operator."""
