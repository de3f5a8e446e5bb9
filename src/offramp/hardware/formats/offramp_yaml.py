"""offramp's own accelerator format: all cores and links of an accelerator in one YAML file."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from offramp.hardware.accelerator import Accelerator, Core, CoreKind, Link
from offramp.hardware.formats.block import (
    DISTINCT,
    STRING_KEYS,
    Block,
    Count,
    Fault,
    Faults,
    Figure,
    Names,
    PositiveFigure,
    Text,
    checked_whole,
    raise_faults,
    read_block,
    whole,
)
from offramp.hardware.formats.core_block import CoreBlock, NamedCore
from offramp.hardware.formats.formulas_block import read_formulas
from offramp.hardware.formats.in_memory_block import InMemoryArrayBlock
from offramp.hardware.formats.published_figures_block import (
    MAX_ENTRIES,
    MacEnergiesBlock,
    ReferenceBlock,
    few_entries,
    unknown_core,
)
from offramp.hardware.formats.sparsity_block import SparsityBlock

MAX_COPIES = 1024
MAX_LINKS = 20_000
UNLIMITED = "unlimited"


def _schema(value: int) -> int:
    if value != 1:
        raise ValueError(f"must be 1, got {value}")
    return value


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
    """

    schema_version: Annotated[Count, AfterValidator(_schema)] = Field(validation_alias="schema")
    name: Text
    description: Text = ""
    clock_hz: PositiveFigure | None = None
    sources: Names
    cores: Annotated[dict[str, Any], STRING_KEYS]
    links: list[Any] = Field(default_factory=list)
    reference: Annotated[list[Any], AfterValidator(few_entries)] = Field(default_factory=list)
    formulas: Any = None

    @field_validator("cores")
    @classmethod
    def _some_core(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            raise ValueError("must hold at least one core")
        return value


class OfframpCore(CoreBlock):
    """A core of offramp's own format.

    Attributes:
        kind: What it may run.
        copies: ``n`` equal cores, called by the name and 0 to n - 1; None for one core of that name.
        source: Where its figures come from.
        mac_energy_by_bits: Energies of the array at other bit widths.
        sparsity: The gain from weights that are zero.
    """

    kind: Annotated[CoreKind, Field(strict=False)]
    copies: Annotated[int, whole(1, MAX_COPIES)] | None = None
    source: Text = ""
    mac_energy_by_bits: MacEnergiesBlock | None = None
    sparsity: SparsityBlock | None = None

    @field_validator("mac_energy_by_bits")
    @classmethod
    def _not_in_memory(cls, value: MacEnergiesBlock | None, info: ValidationInfo) -> MacEnergiesBlock | None:
        if value is not None and isinstance(info.data.get("operational_array"), InMemoryArrayBlock):
            what = "an in-memory computing array has energies of its own; leave this block out"
            raise_faults([Fault(what, ("mac_energy_by_bits",))])
        return value

    @field_validator("sparsity")
    @classmethod
    def _has_multiplied_weights(cls, value: SparsityBlock | None, info: ValidationInfo) -> SparsityBlock | None:
        if value is None:
            return value
        sentences = []
        kind = info.data.get("kind", CoreKind.COMPUTE)
        if kind is not CoreKind.COMPUTE:
            sentences.append(f"a core of kind {kind.value} has no weights; leave this block out")
        if isinstance(info.data.get("operational_array"), InMemoryArrayBlock):
            sentences.append("an in-memory computing array holds every weight in a cell; leave this block out")
        raise_faults(Fault(sentence, ("sparsity",)) for sentence in sentences)
        return value

    def copies_of(self, names: Sequence[str]) -> list[Core]:
        """The cores that the block stands for.

        Args:
            names: Their names.

        Returns:
            Equal cores.
        """
        core = replace(
            self.build(names[0], self.kind, self.source),
            mac_energy_by_bits=None if self.mac_energy_by_bits is None else self.mac_energy_by_bits.build(),
            sparsity=None if self.sparsity is None else self.sparsity.build(),
        )
        return [replace(core, name=name) for name in names]


def _known_core(value: str, info: ValidationInfo) -> str:
    names = (info.context or {})["names"]
    if value not in names:
        raise_faults([unknown_core(value, list(names))])
    return value


def _bandwidth(value: Any) -> int | None:
    return None if value == UNLIMITED else checked_whole(value, 1)


CoreName = Annotated[Text, AfterValidator(_known_core)]


class LinkBlock(Block):
    """What links of both kinds have. The context's ``names`` has the cores behind each name that may be given.

    Attributes:
        bandwidth_bits: Bits per cycle; ``unlimited`` for a link without transfer time.
        energy_pj_per_bit: pJ per bit.
        shared: Links with the same name here are one medium.
    """

    bandwidth_bits: Annotated[int | None, BeforeValidator(_bandwidth)]
    energy_pj_per_bit: Figure = 0.0
    shared: Text = ""

    @property
    def ends(self) -> tuple[str, str]:
        """The names of sender and receiver."""
        raise NotImplementedError


class OneWayLink(LinkBlock):
    """A link in one direction.

    Attributes:
        sender: The key is ``from``.
        receiver: The key is ``to``.
    """

    sender: CoreName = Field(validation_alias="from")
    receiver: CoreName = Field(validation_alias="to")

    @property
    def ends(self) -> tuple[str, str]:
        """The names of sender and receiver."""
        return self.sender, self.receiver


class TwoWayLink(LinkBlock):
    """One link in each direction.

    Attributes:
        between: The names of two cores.
    """

    between: Annotated[list[CoreName], DISTINCT]

    @field_validator("between")
    @classmethod
    def _two(cls, value: list[str]) -> list[str]:
        if len(value) != 2:
            raise ValueError(f"must name two different cores, got {len(value)}")
        return value

    @property
    def ends(self) -> tuple[str, str]:
        """The names of both cores."""
        one, other = self.between
        return one, other


@dataclass(frozen=True)
class _CoreGroup:
    """The cores that one entry of `cores` stands for; ``block`` is None where it has faults."""

    names: tuple[str, ...]
    kind: CoreKind | None
    block: OfframpCore | None


def read_offramp(data: Mapping[str, Any], label: str, repeated_keys: Sequence[str] = ()) -> Accelerator:
    """An accelerator from a file of `schema: 1`.

    Args:
        data: The content of the file.
        label: The file's name, for faults.
        repeated_keys: Faults that were found while the file was parsed.

    Returns:
        The accelerator.

    Raises:
        AcceleratorError: The file has faults; the message lists all of them.
    """
    faults = Faults(list(repeated_keys))
    file = read_block(OfframpFile, data, "", faults)
    groups = _read_groups(data.get("cores"), faults)
    names: dict[str, tuple[str, ...]] = {name: (name,) for group in groups.values() for name in group.names}
    names |= {key: group.names for key, group in groups.items()}
    cores = {name: NamedCore(name, group.kind, group.block) for group in groups.values() for name in group.names}
    cores |= {key: cores[group.names[0]] for key, group in groups.items() if key not in cores}
    links = _read_links(data.get("links"), names, faults)
    reference = _read_references(data.get("reference"), cores, faults)
    formulas = None
    if data.get("formulas") is not None:
        formulas = read_formulas(data["formulas"], cores, faults, has_clock=data.get("clock_hz") is not None)
    faults.raise_if_any(label)
    assert file is not None  # it has no faults
    return Accelerator(
        name=file.name,
        cores=tuple(core for group in groups.values() if group.block for core in group.block.copies_of(group.names)),
        links=tuple(links),
        clock_hz=file.clock_hz,
        description=file.description,
        sources=tuple(" ".join(text.split()) for text in file.sources),
        reference=tuple(block.build(cores[block.core].name) for block in reference if block is not None),
        formulas=formulas,
    )


def _read_references(data: Any, cores: Mapping[str, NamedCore], faults: Faults) -> list[ReferenceBlock | None]:
    entries = data[:MAX_ENTRIES] if isinstance(data, list) else []
    return [
        read_block(ReferenceBlock, entry, f"reference {index}", faults, {"cores": cores})
        for index, entry in enumerate(entries, start=1)
    ]


def _read_groups(data: Any, faults: Faults) -> dict[str, _CoreGroup]:
    groups: dict[str, _CoreGroup] = {}
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
        numbered = tuple(f"{name}{index}" for index in range(many))
        groups[name] = _CoreGroup(numbered or (name,), kind, block)
    names = [name for group in groups.values() for name in group.names]
    for name in sorted(name for name, count in Counter(names).items() if count > 1):
        faults.add("", f"core name {name!r} is used twice once copies are numbered")
    return groups


def _read_links(data: Any, names: Mapping[str, Sequence[str]], faults: Faults) -> list[Link]:
    links: list[Link] = []
    for index, item in enumerate(data if isinstance(data, list) else [], start=1):
        place = f"link {index}"
        both_ways = isinstance(item, dict) and item.get("between") is not None
        kind: type[LinkBlock] = TwoWayLink if both_ways else OneWayLink
        block = read_block(kind, item, place, faults, {"names": names})
        if block is None:
            continue
        sender, receiver = block.ends
        senders, receivers = names[sender], names[receiver]
        if len(senders) * len(receivers) > MAX_LINKS:
            what = f"stands for {len(senders) * len(receivers)} links; at most {MAX_LINKS} are understood"
            faults.add(place, what)
            continue
        for pair in itertools.product(senders, receivers):
            for one, other in (pair, pair[::-1]) if both_ways else (pair,):
                links.append(Link(one, other, block.bandwidth_bits, block.energy_pj_per_bit, block.shared))
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
