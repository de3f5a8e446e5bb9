"""offramp's own accelerator format: all cores and links of an accelerator in one YAML file."""

import re
from dataclasses import replace

from offramp.hardware.accelerator import Accelerator, Core, CoreKind, Link
from offramp.hardware.formats.formulas_block import read_formulas
from offramp.hardware.formats.published_figures_block import read_mac_energies, read_reference
from offramp.hardware.formats.sparsity_block import read_sparsity
from offramp.hardware.formats.yaml_fields import Section
from offramp.hardware.formats.zigzag_yaml import read_core

SCHEMA = 1
MAX_COPIES = 1024
MAX_LINKS = 20_000
UNLIMITED = "unlimited"


def read_offramp(root: Section, label: str, repeated_keys: tuple[str, ...] = ()) -> Accelerator:
    """An accelerator from `schema: 1` YAML; ``label`` names the file in the error.

    A core with `copies: n` stands for n equal cores, its name followed by 0 to n - 1; in links its name means all of
    them. `between: [a, b]` is a link in each direction, `from: a` with `to: b` one link; `bandwidth_bits: unlimited`
    is a link without transfer time; links with the same `shared` name are one medium.
    """
    for text in repeated_keys:
        root.faults.add("", text)
    schema = root.integer("schema", minimum=1)
    if schema != SCHEMA:
        root.fault(f"`schema` must be {SCHEMA}, got {schema}")
    name = root.text("name")
    description = root.text("description", default="")
    clock = root.number("clock_hz", positive=True) if "clock_hz" in root else None
    sources = tuple(" ".join(text.split()) for text in root.words("sources"))
    groups = _read_cores(root)
    links = _read_links(root, groups)
    named = {core.name: core for group in groups.values() for core in group}
    named |= {key: group[0] for key, group in groups.items() if key not in named}
    reference = read_reference(root, named)
    formulas = read_formulas(root, named, has_clock=clock is not None)
    root.done(also=("clock_hz",))
    root.faults.raise_if_any(label)
    return Accelerator(
        name=name,
        cores=tuple(core for group in groups.values() for core in group),
        links=tuple(links),
        clock_hz=clock,
        description=description,
        sources=sources,
        reference=reference,
        formulas=formulas,
    )


def _read_cores(root: Section) -> dict[str, list[Core]]:
    groups: dict[str, list[Core]] = {}
    entries = root.section("cores")
    if not entries.data and "cores" in root:
        root.fault("`cores` must hold at least one core")
    names: list[str] = []
    for key, value in entries.data.items():
        body = Section(value, f"core '{key}'", root.faults)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", key):
            body.fault("a core name must be a letter followed by letters, digits, - or _")
        kind = CoreKind(body.choice("kind", [kind.value for kind in CoreKind]))
        copies = body.integer("copies", minimum=1, default=1)
        if copies > MAX_COPIES:
            body.fault(f"`copies` must be <= {MAX_COPIES}, got {copies}")
            copies = 1
        core = read_core(body, key, kind, source=body.text("source", default=""), strict=True)
        core = replace(core, mac_energy_by_bits=read_mac_energies(body, core), sparsity=read_sparsity(body, core))
        body.done()
        if "copies" in body:
            groups[key] = [replace(core, name=f"{key}{index}") for index in range(copies)]
        else:
            groups[key] = [core]
        names += [item.name for item in groups[key]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        root.fault(f"core name {name!r} is used twice once copies are numbered")
    return groups


def _read_links(root: Section, groups: dict[str, list[Core]]) -> list[Link]:
    names: dict[str, list[str]] = {core.name: [core.name] for group in groups.values() for core in group}
    names |= {key: [core.name for core in group] for key, group in groups.items()}
    links: list[Link] = []
    for index, value in enumerate(root.values("links", required=False), start=1):
        links += _read_link(Section(value, f"link {index}", root.faults), names)
        if len(links) > MAX_LINKS:
            root.fault(f"at most {MAX_LINKS} links, got more up to link {index}")
            return []
    _check_links(root, links)
    return links


def _read_link(section: Section, names: dict[str, list[str]]) -> list[Link]:
    """The links that one entry stands for; ``names`` gives the cores behind each name."""
    both_ways = "between" in section
    ends = section.words("between") if both_ways else [section.text("from"), section.text("to")]
    width: int | None = None
    if section.data.get("bandwidth_bits") == UNLIMITED:
        section.text("bandwidth_bits")
    else:
        width = section.integer("bandwidth_bits", minimum=1)
    energy = section.number("energy_pj_per_bit", default=0.0)
    shared = section.text("shared", default="")
    section.done()
    for end in ends:
        if end and end not in names:
            section.fault(f"names unknown core {end!r}; there are {', '.join(names) or 'none'}")
    if len(ends) != 2:
        section.fault(f"`between` must name two different cores, got {len(ends)}")
        return []
    links: list[Link] = []
    senders, receivers = names.get(ends[0], []), names.get(ends[1], [])
    if len(senders) * len(receivers) > MAX_LINKS:
        section.fault(f"stands for {len(senders) * len(receivers)} links; at most {MAX_LINKS} are understood")
        return []
    for sender in senders:
        for receiver in receivers:
            links.append(Link(sender, receiver, width, energy, shared))
            if both_ways:
                links.append(Link(receiver, sender, width, energy, shared))
    return links


def _check_links(root: Section, links: list[Link]) -> None:
    seen: set[tuple[str, str]] = set()
    for link in links:
        if link.sender == link.receiver:
            root.fault(f"a link joins core {link.sender!r} with itself")
        if (link.sender, link.receiver) in seen:
            root.fault(f"there are two links from {link.sender!r} to {link.receiver!r}")
        seen.add((link.sender, link.receiver))
    widths: dict[str, set[int | None]] = {}
    for link in links:
        if link.shared:
            widths.setdefault(link.shared, set()).add(link.bandwidth_bits)
    for shared, found in widths.items():
        if len(found) > 1:
            root.fault(f"links that share {shared!r} are one medium and must have the same `bandwidth_bits`")
