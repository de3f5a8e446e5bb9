"""Two optional blocks of offramp's own format: energies per bit width of a core, and published figures of layers."""

from collections.abc import Mapping

from offramp.hardware.accelerator import Core, CoreKind, MacEnergy, MacEnergyTable, ReferenceLayer
from offramp.hardware.formats.yaml_fields import Section
from offramp.workload.layer import MATRIX_OPS, POOL_OPS, LayerShape, Op

MAX_BITS = 32
MAX_ENTRIES = 1024
MAX_SIZE = 2**20
DEFAULT_TOLERANCE = 0.001
SIZES = ("b", "g", "k", "c", "oy", "ox", "fy", "fx", "stride_y", "stride_x", "dilation_y", "dilation_x")
OPS = tuple(op.value for op in Op if op is not Op.ACTIVATION)


def read_mac_energies(body: Section, core: Core) -> MacEnergyTable | None:
    """The block `mac_energy_by_bits` of a core: a `source` and `entries`; None where there is none."""
    if "mac_energy_by_bits" not in body:
        return None
    section = body.section("mac_energy_by_bits")
    source = section.text("source")
    entries: list[MacEnergy] = []
    for index, value in enumerate(section.values("entries")[:MAX_ENTRIES], start=1):
        item = Section(value, f"{section.where} entry {index}", section.faults)
        weight, activation = (_bits(item, f"{kind}_bits") for kind in ("weight", "activation"))
        entries.append(MacEnergy(weight, activation, item.number("energy_pj")))
        item.done()
    section.done()
    if not entries and "entries" in section:
        section.fault("`entries` must hold at least one entry")
    widths = [(entry.weight_bits, entry.activation_bits) for entry in entries]
    for weight, activation in sorted({pair for pair in widths if widths.count(pair) > 1}):
        section.fault(f"`entries` has {weight}-bit weights with {activation}-bit activations twice")
    if core.imc is not None:
        section.fault("an in-memory computing array has energies of its own; leave this block out")
    return MacEnergyTable(tuple(entries), source)


def _bits(section: Section, key: str, default: int | None = None) -> int:
    bits = section.integer(key, minimum=1, default=default)
    if bits > MAX_BITS:
        section.fault(f"`{key}` must be <= {MAX_BITS}, got {bits}")
        return MAX_BITS
    return bits


def read_reference(root: Section, cores: Mapping[str, Core]) -> tuple[ReferenceLayer, ...]:
    """The block `reference`: a list of layers with published cycles or energy. ``cores`` has every usable name."""
    found: list[ReferenceLayer] = []
    for index, value in enumerate(root.values("reference", required=False)[:MAX_ENTRIES], start=1):
        item = Section(value, f"reference {index}", root.faults)
        layer, name = item.text("layer"), item.text("core")
        if name and name not in cores:
            item.fault(f"names unknown core {name!r}; there are {', '.join(cores) or 'none'}")
        elif name and cores[name].kind is CoreKind.OFFCHIP:
            item.fault(f"core {name!r} is a memory and computes no layer")
        shape = _read_shape(item.section("shape"))
        cycles = item.number("cycles", positive=True) if "cycles" in item else None
        energy = item.number("energy_pj", positive=True) if "energy_pj" in item else None
        if cycles is None and energy is None:
            item.fault("`cycles` or `energy_pj` must be given")
        tolerance = item.number("tolerance", default=DEFAULT_TOLERANCE)
        source = item.text("source")
        item.done(also=("cycles", "energy_pj"))
        core = cores[name].name if name in cores else name
        found.append(ReferenceLayer(layer, core, shape, cycles, energy, tolerance, source))
    return tuple(found)


def _size(section: Section, key: str, default: int) -> int:
    """A loop size; what is larger than any layer's would only keep the engine busy."""
    value = section.integer(key, minimum=1, default=default)
    if key in section and value > MAX_SIZE:
        section.fault(f"`{key}` must be <= {MAX_SIZE}, got {value}")
        return 1
    return value


def _read_shape(section: Section) -> LayerShape:
    """A layer by its loop sizes; input sizes follow from the output's, the kernel's and the padding."""
    op = Op(section.choice("op", OPS))
    size = {name: _size(section, name, 1) for name in SIZES}
    padding = section.values("padding", required=False) or [0, 0, 0, 0]
    if len(padding) != 4:
        section.fault(f"`padding` must be [top, left, bottom, right], got {len(padding)} values")
        padding = [0, 0, 0, 0]
    top, left, bottom, right = (section.checked_integer("padding", value, 0, 0) for value in padding)
    input_y = (size["oy"] - 1) * size["stride_y"] + (size["fy"] - 1) * size["dilation_y"] + 1 - top - bottom
    input_x = (size["ox"] - 1) * size["stride_x"] + (size["fx"] - 1) * size["dilation_x"] + 1 - left - right
    iy, ix = _size(section, "iy", max(1, input_y)), _size(section, "ix", max(1, input_x))
    weight, activation = (_bits(section, f"{kind}_bits", default=8) for kind in ("weight", "activation"))
    section.done()
    if op not in MATRIX_OPS and size["k"] * size["c"] > 1:
        what = "pooling" if op in POOL_OPS else "an element-wise operator"
        section.fault(f"the channels of {what} are `g`; leave `k` and `c` out")
    return LayerShape(
        op=op,
        b=size["b"],
        g=size["g"],
        k=size["k"],
        c=size["c"],
        oy=size["oy"],
        ox=size["ox"],
        fy=size["fy"],
        fx=size["fx"],
        iy=iy,
        ix=ix,
        stride_y=size["stride_y"],
        stride_x=size["stride_x"],
        dilation_y=size["dilation_y"],
        dilation_x=size["dilation_x"],
        padding=(top, left, bottom, right),
        weight_bits=weight,
        activation_bits=activation,
    )
