"""The optional block `formulas` of offramp's own format: closed forms, powers and layer rules of a measured chip."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ValidationInfo

from offramp.hardware.accelerator import CoreKind
from offramp.hardware.block import Block, context_of, near_name, values_of
from offramp.hardware.chip_formulas import ChipFormulas, CoreFormula, InMemoryArray, Software, TiledArray
from offramp.hardware.field_types import STRING_KEYS, Text
from offramp.hardware.formats.core_block import NamedCore
from offramp.hardware.formats.faults import Faults, read_block

FORMS: dict[str, type[Block]] = {"tiled": TiledArray, "in_memory": InMemoryArray, "software": Software}


def _of_the_form(value: Any, info: ValidationInfo) -> Any:
    return FORMS[info.data["form"]].read(value) if "form" in info.data else value


def _known_memory(value: str, info: ValidationInfo) -> str:
    memories = context_of(info)["memories"]
    if memories is not None and value not in memories:
        raise ValueError(f"names {value!r}, which is no memory of the core{near_name(value, memories)}")
    return value


@dataclass(frozen=True)
class CoreFormulaBlock(CoreFormula):
    """The formula of one core as the file has it. The context's ``memories`` names the memories of the core.

    Attributes:
        core: Not in the block: the key in front of it.
        cycles: Not in the block: made from ``figures``.
        weights: A memory of the core.
        form: Which closed form gives its cycles: tiled, in_memory or software.
        figures: The figures of that form.
    """

    core: str = field(default="", init=False)
    cycles: Any = field(default=None, init=False)
    weights: Annotated[Text, AfterValidator(_known_memory)] = ""
    form: Literal["tiled", "in_memory", "software"] = field(kw_only=True)
    figures: Annotated[Any, AfterValidator(_of_the_form)] = field(kw_only=True)


@dataclass(frozen=True)
class FormulasBlock(ChipFormulas):
    """The chip as the file has it.

    Attributes:
        cores: The formula of each core, by its name; read one by one.
    """

    cores: Annotated[dict[str, Any], STRING_KEYS]  # type: ignore[assignment]


def read_formulas(data: Any, cores: Mapping[str, NamedCore], faults: Faults, *, has_clock: bool) -> ChipFormulas | None:
    """The block, checked against the rest of the file.

    Args:
        data: Plain data of the block.
        cores: The cores by each name that may be given.
        faults: Gets all faults of the block.
        has_clock: Whether the accelerator states its clock.

    Returns:
        The formulas, or None where there is a fault.
    """
    chip = read_block(FormulasBlock, data, "formulas", faults)
    entries = data.get("cores") if isinstance(data, dict) else None
    entries = {str(key): value for key, value in entries.items()} if isinstance(entries, dict) else {}
    formulas = []
    for name, entry in entries.items():
        place = f"formulas of core '{name}'"
        if name not in cores:
            faults.add(place, f"there is no such core{near_name(name, cores)}; there are {', '.join(cores) or 'none'}")
            continue
        core = cores[name]
        memories = None if core.core is None else [memory.name for memory in core.core.memories]
        block = read_block(CoreFormulaBlock, entry, place, faults, {"memories": memories})
        if block is not None:
            formulas.append(CoreFormula(**values_of(block, CoreFormula) | {"core": core.name, "cycles": block.figures}))
        if chip is not None and memories is not None and chip.shared_memory not in memories:
            faults.add(place, f"the core has no memory {chip.shared_memory!r}, which `shared_memory` names")
    if isinstance(data, dict):
        for sentence in _chip_faults(entries, cores, has_clock=has_clock):
            faults.add("formulas", sentence)
    return None if chip is None else ChipFormulas(**values_of(chip, ChipFormulas) | {"cores": tuple(formulas)})


def _chip_faults(entries: Mapping[str, Any], cores: Mapping[str, NamedCore], *, has_clock: bool) -> Iterator[str]:
    """The chip as a whole: time and power need a clock, every compute core a form, weights somewhere to come from."""
    if not has_clock:
        yield "powers need a clock; give the accelerator a `clock_hz`"
    for core in cores.values():
        if core.core is not None and core.core.sparsity is not None:
            yield f"cycles and energies are those of the formulas, so `sparsity` of core {core.name!r} is unused"
    given = {cores[name].name for name in entries if name in cores}
    missing = {core.name for core in cores.values() if core.kind is CoreKind.COMPUTE} - given
    if missing:
        yield f"every compute core needs a formula, {', '.join(sorted(missing))} has none"
    if not any(core.kind is CoreKind.OFFCHIP for core in cores.values()):
        yield "input and weights need a core of kind offchip to come from"
    forms = [entry.get("form") for entry in entries.values() if isinstance(entry, dict)]
    if forms.count("in_memory") > 1:
        yield "at most one core may have the form in_memory"
    if "tiled" not in forms:
        yield "one core must have the form tiled"
