"""What analog candidates reach with weights of a supernet that was trained with analog shares, and of one that was not.

Digits on `diana`, family ``resnet``: validation accuracy of candidates as a search judges them (ternary weights,
converters, noise), without fine-tuning. The test split is not touched.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.record import save_result
from benchmarks.supernets import Prepared, prepare
from offramp.space.architecture import Architecture

SHARES = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Compared:
    """Mean validation accuracy of candidates of one kind, over all of them and all seeds; ``gained`` seed by seed."""

    kind: str
    candidates: int
    trained_without: float
    trained_with: float
    gained: tuple[float, ...]


def at_share(architecture: Architecture, share: float) -> Architecture:
    stages = tuple(replace(x, analog_shares=tuple(share for _ in x.analog_shares)) for x in architecture.stages)
    exits = tuple(replace(x, analog_share=share) for x in architecture.exits)
    return replace(architecture, stages=stages, exits=exits)


KINDS: dict[str, Callable[[Architecture], Architecture]] = {
    "digital": lambda drawn: at_share(drawn, 0.0),
    "all analog": lambda drawn: at_share(drawn, 1.0),
    "mixed": lambda drawn: drawn,
}


def accuracy(prepared: Prepared, architecture: Architecture) -> float:
    evaluation = prepared.direct.evaluate(architecture)
    if evaluation.error:
        raise SystemExit(f"A candidate failed: {evaluation.error}")
    return evaluation.values["accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path("runs/analog_supernet"))
    parser.add_argument("--dry", action="store_true", help="Do not record.")
    args = parser.parse_args()
    found: dict[str, dict[str, list[list[float]]]] = {kind: {"without": [], "with": []} for kind in KINDS}
    for seed in range(args.seeds):
        settings = {
            "seed": seed,
            "cost.accelerator": "diana",
            "train.epochs": args.epochs,
            "space.branches": ("conv", "pool_linear"),
            "space.accuracy_drops": (0.0,),
        }
        supernets = {
            "without": prepare(args.folder / f"without-{seed}", settings),
            "with": prepare(args.folder / f"with-{seed}", {**settings, "space.analog_shares": SHARES}),
        }
        space, rng = supernets["with"].context.space, np.random.default_rng(seed)
        drawn = [space.max_architecture(), *(space.sample(rng) for _ in range(args.candidates - 1))]
        for kind, change in KINDS.items():
            members = [change(member) for member in (drawn if kind != "mixed" else drawn[1:])]
            for name, prepared in supernets.items():
                found[kind][name].append([accuracy(prepared, member) for member in members])
            gains = [np.mean(found[kind][name][-1]) for name in ("without", "with")]
            print(f"seed {seed}, {kind}: without {gains[0]:.4f}, with {gains[1]:.4f}", flush=True)
    rows = [
        Compared(
            kind,
            len(both["with"][0]),
            float(np.mean(both["without"])),
            float(np.mean(both["with"])),
            tuple(float(np.mean(w) - np.mean(o)) for w, o in zip(both["with"], both["without"], strict=True)),
        )
        for kind, both in found.items()
    ]
    for row in rows:
        print(row)
    if not args.dry:
        figures = {"epochs": args.epochs, "seeds": args.seeds, "shares": SHARES, "rows": [asdict(row) for row in rows]}
        print(save_result("analog_supernet", figures))


if __name__ == "__main__":
    main()
