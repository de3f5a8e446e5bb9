"""What is read: for each reader some sound files, and the call that a user's command makes on them."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from offramp.settings.config import Config
from offramp.settings.config_file import load_config
from offramp.settings.cost_config import CostConfig
from tests.data.images import image_samples
from tests.data.sounds import tone, write_sound
from tests.deploy.resealed import replace_file
from tests.fuzz import seeds
from tests.fuzz.graph_mutations import mutate_graph
from tests.fuzz.mutations import Mutation
from tests.fuzz.record_mutations import mutate_record

Read = Callable[[Path], None]


@dataclass(frozen=True)
class Target:
    """``prepare`` fills an empty folder, of whose files those in ``damage`` get changed; ``read`` gets the folder.

    ``mutation`` changes a file in place of the usual damage to bytes or to text.
    """

    name: str
    prepare: Callable[[Path], None]
    damage: tuple[str, ...]
    read: Read
    is_text: bool = False
    mutation: Mutation | None = None


def _config(folder: Path) -> None:
    load_config(folder / "config.yaml")


def _accelerator(name: str, *, price: bool = True) -> Read:
    def read(folder: Path) -> None:
        from offramp.cost.engines.native.engine import NativeEngine
        from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
        from offramp.hardware.loader import load_accelerator
        from offramp.report.terminal.accelerator_tree import accelerator_tree

        accelerator = load_accelerator(folder / name)
        accelerator_tree(accelerator)
        if price:
            LayerByLayerModel(NativeEngine()).estimate(seeds.workload(folder), accelerator)

    return read


def _onnx(mapping: str) -> Read:
    def read(folder: Path) -> None:
        from offramp.cost.pricing import price_onnx
        from offramp.settings.section import build_section

        price_onnx(folder / "model.onnx", build_section(CostConfig, {"mapping": mapping}))

    return read


def _dataset(name: str) -> Read:
    def read(folder: Path) -> None:
        from offramp.data.dataset_loading import load_dataset

        load_dataset(str(folder / name), seed=0, cache_dir=folder / "cache")

    return read


def _image(name: str) -> Read:
    def read(folder: Path) -> None:
        _load(folder / name)

    return read


def _load(file: Path) -> None:
    from offramp.deploy.bundle.manifest_records import Preprocessing
    from offramp.deploy.runtime.sample_inputs import load_image

    load_image(file, Preprocessing(mean=(0.5,) * 3, std=(0.2,) * 3, height=8, width=8, color_mode="RGB"))


def _checkpoint(folder: Path) -> None:
    from offramp.train.checkpoint import load_checkpoint

    load_checkpoint(folder / "weights.safetensors", seeds.small_module())


def _run(folder: Path) -> None:
    """What `offramp watch`, `offramp front`, `export-results` and `--resume` read of a run folder."""
    from rich.console import Console

    from offramp.cli.runs import look_at
    from offramp.records.evaluation_table import export_results
    from offramp.records.run_folder import read_run, resume_run
    from offramp.report.terminal.live import live_view
    from offramp.report.terminal.run_tables import fronts_json, fronts_tables

    console = Console(file=io.StringIO(), width=100)
    console.print(live_view(look_at(folder / "run")))
    for opener in (read_run, resume_run):
        store = opener(folder / "run")
        try:
            fronts = store.fronts()
            json.dumps(fronts_json(fronts))
            for part in fronts_tables(fronts):
                console.print(part)
            export_results(store, folder / "table.parquet")
            store.verify_checkpoints()
        finally:
            store.close()


def _summary(folder: Path) -> None:
    """What `offramp report` does."""
    from offramp.records.run_summary import load_summary
    from offramp.report.pages.run_page import render_page

    render_page(load_summary(folder / "summary.json"))


def _bundle(folder: Path) -> None:
    from offramp.deploy.runtime.session import EarlyExitSession

    session = EarlyExitSession(folder / "bundle")
    session.predict(np.zeros((2, *session.manifest.input_shape), np.float32))


def _resealed_bundle(folder: Path) -> None:
    """A bundle whose checksums agree with whatever is in its files."""
    for path in (folder / "bundle").glob("*.onnx"):
        replace_file(folder / "bundle", path.name, path.read_bytes())
    _bundle(folder)


def _manifest(folder: Path) -> None:
    from offramp.deploy.bundle.manifest import parse_manifest

    parse_manifest((folder / "manifest.json").read_bytes())


def _table(folder: Path) -> None:
    """What `offramp table show` and a search on a table read."""
    from offramp.tabular.benchmark_table import Table

    table = Table.load(folder / "table.npz")
    rng = np.random.default_rng(0)
    for backbone in table.backbones[:4]:
        table.layers(backbone)
        table.test(table.evaluate(backbone))
    for _ in range(4):
        table.evaluate(table.space.sample(rng))
    table.search("nsga2", evaluations=5)
    table.close()


def _table_header(folder: Path) -> None:
    """A table whose checksums agree with whatever its header says."""
    seeds.pack_table(folder)
    _table(folder)


def _copy(source: Path, name: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder / name)

    return prepare


def _image_file(kind: str, tag: image_samples.Tag) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        data = image_samples.encode(image_samples.image_of("RGB", (8, 8)), kind, tag, 6)
        assert data is not None
        (folder / f"image.{kind.lower()}").write_bytes(data)

    return prepare


def _sound_file(folder: Path) -> None:
    write_sound(folder / "sound.wav", tone(440.0, 1.3, np.random.default_rng(0)))


def _sound(folder: Path) -> None:
    """What `offramp predict` does with a sound."""
    from offramp.deploy.bundle.manifest_records import Preprocessing
    from offramp.deploy.runtime.sample_inputs import load_samples

    load_samples(folder / "sound.wav", Preprocessing(49, 10, "L", (0.5,), (0.2,), input_kind="mfcc"))


def _sound_folder(suffix: str) -> Callable[[Path], None]:
    """Two classes of eight sounds; FLAC and Ogg where soundfile is installed."""

    def prepare(folder: Path) -> None:
        rng = np.random.default_rng(0)
        for index in range(16):
            name, pitch_hz = (("high", 1500.0), ("low", 300.0))[index % 2]
            path = folder / "sounds" / name / f"{index:02}.{suffix}"
            samples = tone(pitch_hz, 0.1, rng)
            write_sound(path.with_suffix(".wav"), samples)
            if suffix != "wav":
                import soundfile

                soundfile.write(path, samples, 16_000)
                path.with_suffix(".wav").unlink()

    return prepare


def _sound_list(folder: Path) -> None:
    """Sounds with a list of labels as Hugging Face has it."""
    rng = np.random.default_rng(0)
    rows = ["file_name,label"]
    for index in range(16):
        label = ("high", "low")[index % 2]
        write_sound(folder / "sounds" / f"{index:02}.wav", tone((1500.0, 300.0)[index % 2], 0.1, rng))
        rows.append(f"{index:02}.wav,{label}")
    (folder / "sounds" / "metadata.csv").write_text("\n".join(rows) + "\n")


def _sound_parquet(folder: Path) -> None:
    """Sounds in a column of parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    _sound_folder("wav")(folder)
    files = sorted((folder / "sounds").glob("*/*.wav"))
    table = pa.table({"audio": [file.read_bytes() for file in files], "label": [file.parent.name for file in files]})
    pq.write_table(table, folder / "data.parquet")


def _stored_samples(folder: Path) -> None:
    """An array of the cache that is read by rows."""
    np.save(folder / "a.npy", np.arange(4 * 27, dtype=np.uint8).reshape(4, 3, 3, 3))


def _read_stored_samples(folder: Path) -> None:
    from offramp.data.array_cache import ArrayCache

    (folder / "decoded").mkdir(exist_ok=True)
    shutil.copy(folder / "a.npy", folder / "decoded" / "a.npy")
    cache = ArrayCache(folder, most_bytes_in_memory=1)
    cache.get_bytes("a", lambda: np.zeros((1, 1, 1, 1), dtype=np.uint8))[:]


def _settings(folder: Path) -> None:
    Config().save(folder / "config.yaml")


def _compressed_sounds() -> tuple[Target, ...]:
    """Formats that need soundfile, where it is installed."""
    if find_spec("soundfile") is None:
        return ()
    return tuple(
        Target(f"sound {suffix}", _sound_folder(suffix), (f"sounds/high/00.{suffix}",), _dataset("sounds"))
        for suffix in ("flac", "ogg")
    )


def targets(run: Path) -> tuple[Target, ...]:
    """All readers; ``run`` is the folder of a finished search that is copied, never changed."""
    bundle = next(run.glob("chosen/*/bundle"))
    chip = _accelerator("chip.yaml")
    files = tuple(f"bundle/{path.name}" for path in sorted(bundle.iterdir()))
    graphs = tuple(name for name in files if name.endswith(".onnx"))
    return (
        Target("config", _settings, ("config.yaml",), _config, is_text=True),
        Target("accelerator mcu", _copy(seeds.CATALOG / "mcu.yaml", "chip.yaml"), ("chip.yaml",), chip, is_text=True),
        Target("accelerator mix", _copy(seeds.CATALOG / "mixed-quad.yaml", "chip.yaml"), ("chip.yaml",), chip, True),
        Target("accelerator zigzag 3.6", seeds.old_core, ("chip.yaml",), chip, is_text=True),
        Target("accelerator zigzag 3.9", seeds.new_core, ("chip.yaml",), chip, is_text=True),
        Target("accelerator in-memory", seeds.imc_core, ("chip.yaml",), _accelerator("chip.yaml", price=False), True),
        Target("accelerator stream", seeds.mesh, ("mesh.yaml", "mac.yaml"), _accelerator("mesh.yaml"), is_text=True),
        Target("onnx", seeds.onnx_graph, ("model.onnx",), _onnx("layer_by_layer")),
        Target("onnx control flow", seeds.onnx_control_flow, ("model.onnx",), _onnx("layer_by_layer")),
        Target("onnx batch", seeds.onnx_batch, ("model.onnx",), _onnx("layer_by_layer")),
        Target("onnx optimized", seeds.onnx_graph, ("model.onnx",), _onnx("optimized")),
        Target("parquet", seeds.parquet, ("data/train.parquet",), _dataset("data")),
        Target("npz", seeds.npz, ("data.npz",), _dataset("data.npz")),
        Target("npz series", seeds.npz_series, ("data.npz",), _dataset("data.npz")),
        Target("npy", seeds.npy, ("data/x.npy", "data/y.npy"), _dataset("data")),
        Target("csv", seeds.csv, ("data.csv",), _dataset("data.csv"), is_text=True),
        Target("csv long form", seeds.long_csv, ("data.csv",), _dataset("data.csv"), is_text=True),
        Target("ts", seeds.ts, ("Toy_TRAIN.ts",), _dataset("Toy_TRAIN.ts"), is_text=True),
        Target("parquet table", seeds.parquet_table, ("data/train.parquet",), _dataset("data")),
        Target("table", seeds.table, ("table.npz",), _table),
        Target("table header", seeds.table_header, ("header.json",), _table_header, is_text=True),
        Target("image folder", seeds.image_folder, ("images/a/000.png", "images/b/001.png"), _dataset("images")),
        Target("cifar binary", seeds.cifar, ("cifar-10-binary.tar.gz",), _dataset("cifar-10-binary.tar.gz")),
        Target("svhn", seeds.svhn, ("train_32x32.mat",), _dataset("train_32x32.mat")),
        Target("image png", _image_file("PNG", "xmp"), ("image.png",), _image("image.png")),
        Target("image jpeg", _image_file("JPEG", "exif"), ("image.jpeg",), _image("image.jpeg")),
        Target("image webp", _image_file("WEBP", "xmp"), ("image.webp",), _image("image.webp")),
        Target("image tiff", _image_file("TIFF", "exif"), ("image.tiff",), _image("image.tiff")),
        Target("image gif", _image_file("GIF", "none"), ("image.gif",), _image("image.gif")),
        Target("sound", _sound_file, ("sound.wav",), _sound),
        Target("sound folder", _sound_folder("wav"), ("sounds/high/00.wav", "sounds/low/01.wav"), _dataset("sounds")),
        Target("sound list", _sound_list, ("sounds/metadata.csv",), _dataset("sounds"), is_text=True),
        Target("sound parquet", _sound_parquet, ("data.parquet",), _dataset("data.parquet")),
        *_compressed_sounds(),
        Target("stored samples", _stored_samples, ("a.npy",), _read_stored_samples),
        Target("checkpoint", seeds.checkpoint, ("weights.safetensors",), _checkpoint),
        Target("run database", _copy(run, "run"), ("run/run.sqlite",), _run),
        Target("run record", _copy(run, "run"), ("run/run.sqlite",), _run, mutation=mutate_record),
        Target("run summary", _copy(run / "summary.json", "summary.json"), ("summary.json",), _summary, is_text=True),
        Target("bundle manifest", _copy(bundle, "bundle"), ("bundle/manifest.json",), _bundle, is_text=True),
        Target("bundle graphs", _copy(bundle, "bundle"), graphs, _resealed_bundle, mutation=mutate_graph),
        Target("bundle files", _copy(bundle, "bundle"), files, _bundle),
        Target("manifest", _copy(bundle / "manifest.json", "manifest.json"), ("manifest.json",), _manifest, True),
    )
