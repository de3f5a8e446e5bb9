"""ONNX operators that compute what a standard operator computes, on quantised values or with a fused activation.

Sources: the operator lists of ONNX (https://onnx.ai/onnx/operators) and of onnxruntime
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md); integer operators of Deeploy (Scherer et
al., 2024), which have no domain or that of PACT. Scales and zero points are left out: they
belong to the layer whose values they describe, as in `QuantizeLinear` and `DequantizeLinear`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Equivalent:
    """The standard form of an operator.

    Attributes:
        op: Type of the standard operator.
        positions: Positions of its inputs among those of the node; inputs that the node does not have are left out.
        repeated: Number of inputs per operand, if the operands go on after the first of `positions`; 0 if not.
    """

    op: str
    positions: tuple[int, ...]
    repeated: int = 0

    def inputs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Select the operands.

        Args:
            names: Inputs of the node.

        Returns:
            Inputs of the standard operator, without empty ones at the end.
        """
        positions = self.positions if not self.repeated else range(self.positions[0], len(names), self.repeated)
        taken = [names[position] if position < len(names) else "" for position in positions]
        while taken and not taken[-1]:
            taken.pop()
        return tuple(taken)


_SAME = (0,)
EQUIVALENTS: dict[str, Equivalent] = {
    "ConvInteger": Equivalent("Conv", (0, 1)),
    "MatMulInteger": Equivalent("MatMul", (0, 1)),
    "QLinearConv": Equivalent("Conv", (0, 3, 8)),
    "QLinearMatMul": Equivalent("MatMul", (0, 3)),
    "com.microsoft.QGemm": Equivalent("Gemm", (0, 3, 6)),
    "com.microsoft.QLinearAdd": Equivalent("Add", (0, 3)),
    "com.microsoft.QLinearMul": Equivalent("Mul", (0, 3)),
    "com.microsoft.QLinearWhere": Equivalent("Where", (0, 1, 4)),
    "com.microsoft.QLinearConcat": Equivalent("Concat", (2,), repeated=3),
    "com.microsoft.QLinearLeakyRelu": Equivalent("LeakyRelu", _SAME),
    "com.microsoft.QLinearSigmoid": Equivalent("Sigmoid", _SAME),
    "com.microsoft.QLinearSoftmax": Equivalent("Softmax", _SAME),
    "com.microsoft.QLinearAveragePool": Equivalent("AveragePool", _SAME),
    "com.microsoft.QLinearGlobalAveragePool": Equivalent("GlobalAveragePool", _SAME),
    "com.microsoft.QLinearReduceMean": Equivalent("ReduceMean", _SAME),
    "com.microsoft.QAttention": Equivalent("com.microsoft.Attention", (0, 1, 2, 5)),
    "com.microsoft.QuantizeLinear": Equivalent("QuantizeLinear", _SAME),
    "com.microsoft.DequantizeLinear": Equivalent("DequantizeLinear", _SAME),
    "com.microsoft.MatMulIntegerToFloat": Equivalent("MatMul", (0, 1)),
    "com.microsoft.DynamicQuantizeMatMul": Equivalent("MatMul", (0, 1)),
    "com.microsoft.DynamicQuantizeLSTM": Equivalent("LSTM", (0, 1, 2, 3, 4, 5, 6, 7)),
    "com.microsoft.FusedGemm": Equivalent("Gemm", (0, 1, 2)),
    "com.microsoft.FusedConv": Equivalent("Conv", (0, 1, 2)),
    "com.microsoft.Gelu": Equivalent("Gelu", _SAME),
    "com.microsoft.FastGelu": Equivalent("Gelu", _SAME),
    "com.microsoft.QuickGelu": Equivalent("Gelu", _SAME),
    "com.microsoft.BiasGelu": Equivalent("Gelu", _SAME),
    "SimplifiedLayerNormalization": Equivalent("RMSNormalization", (0, 1)),
    "com.microsoft.SimplifiedLayerNormalization": Equivalent("RMSNormalization", (0, 1)),
    **dict.fromkeys(("IntegerMean", "PACTOps.IntegerMean"), Equivalent("ReduceMean", _SAME)),
    **dict.fromkeys(("IntegerDiv", "PACTOps.IntegerDiv", "TrueIntegerDiv"), Equivalent("Div", (0, 1))),
    **dict.fromkeys(("ITAMax", "ITAPartialMax", "iSoftmax", "PACTOps.iSoftmax"), Equivalent("Softmax", _SAME)),
    **dict.fromkeys(("iHardswish", "PACTOps.iHardswish"), Equivalent("HardSwish", _SAME)),
    **dict.fromkeys(("iGELU", "PACTOps.iGELU"), Equivalent("Gelu", _SAME)),
    **dict.fromkeys(("iLayerNorm", "PACTOps.iLayerNorm"), Equivalent("LayerNormalization", _SAME)),
    **dict.fromkeys(("RMSNorm", "iRMSNorm", "PACTOps.iRMSNorm"), Equivalent("RMSNormalization", _SAME)),
}
"""Standard forms by operator type, with the domain in front if it is not a standard one."""

QUANTIZERS = frozenset(
    {
        f"{domain}.{op}"
        for domain in ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
        for op in ("Quant", "IntQuant", "BipolarQuant", "FloatQuant", "Trunc")
    }
    | {"finn.custom_op.general.MultiThreshold", "qonnx.custom_op.general.MultiThreshold"}
    | {f"{domain}RequantShift" for domain in ("", "PACTOps.", "ai.onnx.contrib.")}
)
"""Quantisation in the dialects of QONNX (Pappalardo et al., "QONNX: Representing Arbitrary-Precision Quantized Neural
Networks", 2022, with Brevitas and FINN) and of Deeploy (Scherer et al., "Deeploy", 2024). Their first input holds the
values; the others hold scales, zero points, bit widths or thresholds."""
