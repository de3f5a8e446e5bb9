"""The optional block `formulas` of offramp's own format: closed forms, powers and layer rules of a measured chip."""

from collections.abc import Mapping

from offramp.hardware.accelerator import Core, CoreKind
from offramp.hardware.chip_formulas import (
    ChipFormulas,
    Converters,
    CoreFormula,
    CycleForm,
    InMemoryArray,
    LayerRules,
    PeakEfficiency,
    Software,
    TiledArray,
)
from offramp.hardware.formats.yaml_fields import Section
from offramp.workload.layer import Op

FORMS = ("tiled", "in_memory", "software")
GROUPS = ("none", "depthwise", "any")
MAX_SIZE = 2**20


def read_formulas(root: Section, cores: Mapping[str, Core], has_clock: bool) -> ChipFormulas | None:
    """The block, checked against the accelerator's ``cores``; None where there is none."""
    if "formulas" not in root:
        return None
    section = root.section("formulas")
    source = section.text("source")
    idle = section.number("idle_power_mw")
    shared = section.text("shared_memory")
    transfer = section.integer("transfer_bits_per_cycle", minimum=1)
    split = section.integer("split_channels", minimum=1, default=1)
    entries = section.section("cores")
    found = []
    for name, value in entries.data.items():
        item = Section(value, f"formulas of core '{name}'", root.faults)
        if name not in cores:
            item.fault(f"there is no such core; there are {', '.join(cores) or 'none'}")
            continue
        found.append(_read_core(item, cores[name]))
        if shared and not any(memory.name == shared for memory in cores[name].memories):
            item.fault(f"the core has no memory {shared!r}, which `shared_memory` names")
        item.done()
    section.done()
    _check_whole(section, found, cores, has_clock)
    return ChipFormulas(tuple(found), idle, shared, transfer, split, source)


def _check_whole(section: Section, found: list[CoreFormula], cores: Mapping[str, Core], has_clock: bool) -> None:
    """The chip as a whole: time and power need a clock, every compute core a form, weights somewhere to come from."""
    if not has_clock:
        section.fault("powers need a clock; give the accelerator a `clock_hz`")
    names = {item.core for item in found}
    for core in cores.values():
        if core.sparsity is not None:
            section.fault(
                f"cycles and energies are those of the formulas, so `sparsity` of core {core.name!r} is unused"
            )
    missing = [core.name for core in cores.values() if core.kind is CoreKind.COMPUTE and core.name not in names]
    if missing:
        section.fault(f"every compute core needs a formula, {', '.join(sorted(set(missing)))} has none")
    if not any(core.kind is CoreKind.OFFCHIP for core in cores.values()):
        section.fault("input and weights need a core of kind offchip to come from")
    if sum(item.is_analog for item in found) > 1:
        section.fault("at most one core may have the form in_memory")
    if not any(not item.is_analog and not item.is_software for item in found):
        section.fault("one core must have the form tiled")


def _read_core(item: Section, core: Core) -> CoreFormula:
    form = _read_form(item)
    weights = item.text("weights", default="")
    if weights and not any(memory.name == weights for memory in core.memories):
        item.fault(f"`weights` names {weights!r}, which is no memory of the core")
    copies = item.integer("depthwise_weight_copies", minimum=1, default=1)
    power = item.number("power_mw")
    rules = _read_rules(item.section("rules"))
    peak = _read_peak(item.section("peak")) if "peak" in item else None
    return CoreFormula(core.name, form, rules, power, weights, copies, peak, item.text("source"))


def _read_form(item: Section) -> CycleForm:
    kind = item.choice("form", FORMS)
    figures = item.section("figures")
    form: CycleForm
    if kind == "tiled":
        form = TiledArray(
            figures.integer("channels", minimum=1),
            figures.integer("columns", minimum=1),
            figures.integer("values_per_cycle", minimum=1),
        )
    elif kind == "in_memory":
        unrollings = [figures.checked_integer("unrollings", x, 1, 1) for x in figures.values("unrollings")]
        form = InMemoryArray(
            rows=figures.integer("rows", minimum=1),
            columns=figures.integer("columns", minimum=1),
            row_block=figures.integer("row_block", minimum=1),
            channels_per_pass=figures.integer("channels_per_pass", minimum=1),
            unrollings=tuple(sorted(unrollings)) or (1,),
            write_cycles_per_row=figures.number("write_cycles_per_row"),
            pass_s=figures.number("pass_s", positive=True),
            converters=_read_converters(figures.section("converters")),
        )
    else:
        form = Software(figures.number("cycles_per_mac", positive=True), figures.number("cycles_per_value"))
    figures.done()
    return form


def _read_converters(section: Section) -> Converters:
    converters = Converters(
        section.integer("input_bits", minimum=2), section.integer("output_bits", minimum=2), section.number("snr")
    )
    section.text("source")
    section.done()
    return converters


def _read_rules(section: Section) -> LayerRules:
    ops = section.words("ops")
    known = {op.value: op for op in Op}
    for name in ops:
        if name not in known:
            section.fault(f"`ops` must be among {', '.join(known)}, got {name!r}")
    sizes = {
        key: tuple(section.checked_integer(key, value, 1, 1) for value in section.values(key, required=False))
        for key in ("kernels", "strides")
    }
    first = section.choice("first_layer", ("allowed", "refused"), default="allowed")
    rules = LayerRules(
        ops=tuple(known[name] for name in ops if name in known),
        kernels=sizes["kernels"],
        strides=sizes["strides"],
        groups=section.choice("groups", GROUPS, default="any"),
        first_layer=first == "allowed",
        same_padding=section.flag("same_padding"),
        size_multiple=section.integer("size_multiple", minimum=1, default=1),
        weight_bits=section.integer("weight_bits", minimum=0, default=0),
        activation_bits=section.integer("activation_bits", minimum=0, default=0),
        source=section.text("source"),
    )
    section.done()
    return rules


def _read_peak(section: Section) -> PeakEfficiency:
    peak = PeakEfficiency(
        section.number("tops_per_watt", positive=True), section.number("tolerance"), section.text("source")
    )
    section.done()
    return peak
