"""offramp's own accelerator format: all cores and links of an accelerator in one YAML file."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from offramp.hardware.accelerator import Accelerator, Core, CoreKind, Link, WeightSparsity
from offramp.hardware.block import Block, Fault, near_name, raise_faults
from offramp.hardware.device_power import DevicePower, with_clock
from offramp.hardware.field_types import (
    DISTINCT,
    STRING_KEYS,
    Count,
    Flag,
    Items,
    Names,
    PositiveFigure,
    Text,
    checked_whole,
    must,
    whole,
)
from offramp.hardware.formats.array_block import InMemoryArrayBlock
from offramp.hardware.formats.core_block import CoreBlock, NamedCore
from offramp.hardware.formats.faults import Faults, read_block
from offramp.hardware.formats.formulas_block import read_formulas
from offramp.hardware.published_figures import FEW_ENTRIES, MAX_ENTRIES, MacEnergyTable, ReferenceLayer

MAX_COPIES = 1024
MAX_LINKS = 20_000
UNLIMITED = "unlimited"


@dataclass(frozen=True, kw_only=True)
class OfframpFile(Block):
    """A file as a whole; its cores, links, references and formulas are read one by one.

    Attributes:
        schema_version: 1; the key is ``schema``.
        name: What the accelerator is called.
        description: One sentence.
        clock_hz: Clock in Hz; None where times are given in cycles only.
        sources: Where the figures come from.
        cores: Cores by name.
        links: Connections between cores.
        reference: Published figures of layers.
        formulas: Closed forms of a measured chip.
        activations_offchip: Whether the off-chip memory can hold activations.
        device_power: Static power and energy of a start.
    """

    schema_version: Annotated[
        Count, must(lambda value: value == 1, "must be 1, got {value}"), Field(validation_alias="schema")
    ]
    name: Text
    description: Text = ""
    clock_hz: PositiveFigure | None = None
    sources: Names
    cores: Annotated[dict[str, Any], STRING_KEYS, must(bool, "must hold at least one core")]
    links: Items[Any] = ()
    reference: Annotated[Items[Any], FEW_ENTRIES] = ()
    formulas: Any = None
    activations_offchip: Flag = True
    device_power: Annotated[DevicePower | None, AfterValidator(with_clock)] = None


def _not_in_memory(value: MacEnergyTable | None, info: ValidationInfo) -> MacEnergyTable | None:
    if value is not None and isinstance(info.data.get("operational_array"), InMemoryArrayBlock):
        what = "an in-memory computing array has energies of its own; leave this block out"
        raise_faults([Fault(what, ("mac_energy_by_bits",))])
    return value


def _has_multiplied_weights(value: WeightSparsity | None, info: ValidationInfo) -> WeightSparsity | None:
    sentences = []
    kind = info.data.get("kind", CoreKind.COMPUTE)
    if kind is not CoreKind.COMPUTE:
        sentences.append(f"a core of kind {kind.value} has no weights; leave this block out")
    if isinstance(info.data.get("operational_array"), InMemoryArrayBlock):
        sentences.append("an in-memory computing array holds every weight in a cell; leave this block out")
    if value is not None:
        raise_faults(Fault(sentence, ("sparsity",)) for sentence in sentences)
    return value


@dataclass(frozen=True, kw_only=True)
class OfframpCore(CoreBlock):
    """A core of offramp's own format.

    Attributes:
        kind: What it may run.
        copies: ``n`` equal cores, called by the name and 0 to n - 1; None for one core of that name.
        source: Where its figures come from.
        mac_energy_by_bits: Energies of the array at other bit widths.
        sparsity: The gain from weights that are zero.
    """

    kind: CoreKind
    copies: Annotated[int, whole(1, MAX_COPIES)] | None = None
    source: Text = ""
    mac_energy_by_bits: Annotated[MacEnergyTable | None, AfterValidator(_not_in_memory)] = None
    sparsity: Annotated[WeightSparsity | None, AfterValidator(_has_multiplied_weights)] = None

    def core(self, name: str) -> Core:
        """One of the cores that the block stands for.

        Args:
            name: Its name.

        Returns:
            The core.
        """
        core = self.build(name, self.kind, self.source)
        return replace(core, mac_energy_by_bits=self.mac_energy_by_bits, sparsity=self.sparsity)


def _unknown_core(name: str, names: Iterable[str]) -> str:
    return f"names unknown core {name!r}{near_name(name, names)}; there are {', '.join(names) or 'none'}"


def _bandwidth(value: Any) -> int | None:
    return None if value == UNLIMITED else checked_whole(value, 1)


_Bandwidth = Annotated[int | None, BeforeValidator(_bandwidth)]


@dataclass(frozen=True)
class OneWayLink(Link):
    """A link in one direction as the file has it.

    Attributes:
        sender: The key is ``from``.
        receiver: The key is ``to``.
        bandwidth_bits: Bits per cycle; ``unlimited`` for a link without transfer time.
    """

    sender: Annotated[Text, Field(validation_alias="from")]
    receiver: Annotated[Text, Field(validation_alias="to")]
    bandwidth_bits: _Bandwidth


@dataclass(frozen=True)
class TwoWayLink(Link):
    """One link in each direction as the file has it.

    Attributes:
        sender: Not in the file.
        receiver: Not in the file.
        between: The names of two cores.
        bandwidth_bits: Bits per cycle; ``unlimited`` for a link without transfer time.
    """

    sender: str = field(default="", init=False)
    receiver: str = field(default="", init=False)
    bandwidth_bits: _Bandwidth
    between: Annotated[
        Items[Text], DISTINCT, must(lambda ends: len(ends) == 2, "must name two different cores, got {count}")
    ] = field(kw_only=True)


def read_offramp(data: Mapping[str, Any], label: str, doubtful: Sequence[str] = ()) -> Accelerator:
    """An accelerator from a file of `schema: 1`.

    Args:
        data: The content of the file.
        label: The file's name, for faults.
        doubtful: Faults that were found while the file was parsed.

    Returns:
        The accelerator.

    Raises:
        AcceleratorError: The file has faults; the message lists all of them.
    """
    faults = Faults(list(doubtful))
    file = read_block(OfframpFile, data, "", faults)
    groups = _read_groups(data.get("cores"), faults)
    named = {core.name: core for group in groups.values() for core in group}
    names = {name: [name] for name in named} | {key: [core.name for core in group] for key, group in groups.items()}
    cores = named | {key: group[0] for key, group in groups.items() if key not in named}
    links = _read_links(data.get("links"), names, faults)
    reference = tuple(_read_references(data.get("reference"), cores, faults))
    formulas = None
    if data.get("formulas") is not None:
        formulas = read_formulas(data["formulas"], cores, faults, has_clock=data.get("clock_hz") is not None)
    faults.raise_if_any(label)
    assert file is not None  # it has no faults
    return Accelerator(
        name=file.name,
        cores=tuple(item.core for item in named.values() if item.core is not None),
        links=tuple(links),
        clock_hz=file.clock_hz,
        description=file.description,
        sources=tuple(" ".join(text.split()) for text in file.sources),
        reference=reference,
        formulas=formulas,
        activations_offchip=file.activations_offchip,
        device_power=file.device_power,
    )


def _read_references(data: Any, cores: Mapping[str, NamedCore], faults: Faults) -> Iterator[ReferenceLayer]:
    for index, entry in enumerate(data[:MAX_ENTRIES] if isinstance(data, list) else [], start=1):
        layer = read_block(ReferenceLayer, entry, f"reference {index}", faults)
        given = entry.get("core") if isinstance(entry, dict) else None
        name = " ".join(given.split()) if isinstance(given, str) else ""
        if name and name not in cores:
            faults.add(f"reference {index}", _unknown_core(name, cores))
        elif name and cores[name].kind is CoreKind.OFFCHIP:
            faults.add(f"reference {index}", f"core {name!r} is a memory and computes no layer")
        elif layer is not None:
            yield replace(layer, core=cores[name].name)


def _read_groups(data: Any, faults: Faults) -> dict[str, list[NamedCore]]:
    groups: dict[str, list[NamedCore]] = {}
    for key, value in data.items() if isinstance(data, dict) else ():
        name, place = str(key), f"core '{key}'"
        if isinstance(value, dict) and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", name):
            faults.add(place, "a core name must be a letter followed by letters, digits, - or _")
        given = value if isinstance(value, dict) else {}
        kind = CoreKind(given["kind"]) if given.get("kind") in [*CoreKind] else None
        context = {"strict": True, "min_array_size": 0 if kind is CoreKind.OFFCHIP else 1}
        block = read_block(OfframpCore, value, place, faults, context)
        # The copies of a core with faults have names as well, which links may use.
        copies = given.get("copies") if block is None else block.copies
        many = copies if isinstance(copies, int) and 1 <= copies <= MAX_COPIES else 0
        numbered = [f"{name}{index}" for index in range(many)] or [name]
        groups[name] = [NamedCore(each, kind, None if block is None else block.core(each)) for each in numbered]
    names = [core.name for group in groups.values() for core in group]
    for name in sorted(name for name, count in Counter(names).items() if count > 1):
        faults.add("", f"core name {name!r} is used twice once copies are numbered")
    return groups


def _read_links(data: Any, names: Mapping[str, Sequence[str]], faults: Faults) -> list[Link]:
    links: list[Link] = []
    for index, item in enumerate(data if isinstance(data, list) else [], start=1):
        place = f"link {index}"
        given = item if isinstance(item, dict) else {}
        both_ways = given.get("between") is not None
        link = read_block(TwoWayLink if both_ways else OneWayLink, item, place, faults)
        stated = given["between"] if both_ways else [given.get("from"), given.get("to")]
        stated = stated if isinstance(stated, list) else []
        ends = [" ".join(end.split()) for end in stated if isinstance(end, str)]
        unknown = [end for end in ends if end and end not in names]
        for end in unknown:
            faults.add(place, _unknown_core(end, names))
        if link is None or unknown:
            continue
        senders, receivers = (names[end] for end in ends)
        if len(senders) * len(receivers) > MAX_LINKS:
            what = f"stands for {len(senders) * len(receivers)} links; at most {MAX_LINKS} are understood"
            faults.add(place, what)
            continue
        for pair in itertools.product(senders, receivers):
            for one, other in (pair, pair[::-1]) if both_ways else (pair,):
                links.append(Link(one, other, link.bandwidth_bits, link.energy_pj_per_bit, link.shared))
        if len(links) > MAX_LINKS:
            faults.add("", f"at most {MAX_LINKS} links, got more up to link {index}")
            return []
    for sentence in _link_faults(links):
        faults.add("", sentence)
    return links


def _link_faults(links: Sequence[Link]) -> Iterator[str]:
    seen: set[tuple[str, str]] = set()
    widths: dict[str, set[int | None]] = {}
    for link in links:
        if link.sender == link.receiver:
            yield f"a link joins core {link.sender!r} with itself"
        if (link.sender, link.receiver) in seen:
            yield f"there are two links from {link.sender!r} to {link.receiver!r}"
        seen.add((link.sender, link.receiver))
        if link.shared:
            widths.setdefault(link.shared, set()).add(link.bandwidth_bits)
    for shared, found in widths.items():
        if len(found) > 1:
            yield f"links that share {shared!r} are one medium and must have the same `bandwidth_bits`"
