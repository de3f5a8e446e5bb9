"""The optional block `sparsity` of a core in offramp's own format: what it gains from weights that are zero."""

from offramp.hardware.accelerator import Core, CoreKind, SparseStorage, WeightSparsity
from offramp.hardware.formats.yaml_fields import Section

MAX_INDEX_BITS = 64


def read_sparsity(body: Section, core: Core) -> WeightSparsity | None:
    """The block of ``core``; None where there is none, which is to say that zeros gain nothing."""
    if "sparsity" not in body:
        return None
    section = body.section("sparsity")
    cycles, energy = _share(section, "cycles_saved"), _share(section, "energy_saved")
    storage = _read_storage(section.section("storage")) if "storage" in section else None
    result = WeightSparsity(cycles, energy, storage, section.text("source"))
    section.done()
    if section.data and storage is None and cycles == energy == 0:
        section.fault("nothing is gained by it; leave the block out, or say what is")
    if core.kind is not CoreKind.COMPUTE:
        section.fault(f"a core of kind {core.kind.value} has no weights; leave this block out")
    if core.imc is not None:
        section.fault("an in-memory computing array holds every weight in a cell; leave this block out")
    return result


def _share(section: Section, key: str) -> float:
    value = section.number(key)
    if value > 1:
        section.fault(f"`{key}` is a share and must be <= 1, got {value:g}")
        return 1.0
    return value


def _read_storage(section: Section) -> SparseStorage:
    storage = SparseStorage(
        section.number("bits_per_weight", default=0.0), section.number("bits_per_nonzero", default=0.0)
    )
    section.done()
    if section.data and not any(section.data.get(key) for key in ("bits_per_weight", "bits_per_nonzero")):
        section.fault("one of its figures must be above 0: something has to say where the nonzero weights belong")
    if max(storage.bits_per_weight, storage.bits_per_nonzero) > MAX_INDEX_BITS:
        section.fault(f"its figures must be <= {MAX_INDEX_BITS} bits")
    return storage
