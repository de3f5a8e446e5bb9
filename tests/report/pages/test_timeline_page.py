"""The page that ``offramp cost --timeline`` writes."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
from offramp.cost.mapping.optimized.optimized_model import OptimizedModel
from offramp.cost.priced_model import PricedModel
from offramp.errors import InputError
from offramp.report.pages.timeline_page import render_timeline_page, write_timeline_page
from tests.cost.mapping.optimized.test_mapping_steps import two_stages
from tests.cost.toys import ToyEngine
from tests.report.figures.test_timeline_data import CORES, QUAD


def priced(model: OptimizedModel | LayerByLayerModel, name: str = "net.onnx") -> PricedModel:
    workload = two_stages()
    return PricedModel(name, model.estimate(workload, QUAD), model.estimate(workload.static(), QUAD), None, CORES)


class Seen(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if not self.tags or self.tags[-1] not in ("script", "style"):
            self.words.append(data.strip())


def test_it_loads_nothing_and_names_its_mapping() -> None:
    seen = Seen(render_timeline_page(priced(OptimizedModel(ToyEngine()))))
    assert seen.links == []
    assert seen.tags.count("h1") == 1
    text = " ".join(seen.words)
    assert "net.onnx on edge-tpu-quad" in text
    assert text.count("mapping optimized") == 1
    assert text.count("Leakage") == 1
    assert "offchip link" in seen.words
    assert {"core0", "fc0", "fc1"} <= set(seen.words)


def test_the_reference_schedule_says_what_it_leaves_out() -> None:
    text = " ".join(Seen(render_timeline_page(priced(LayerByLayerModel(ToyEngine())))).words)
    assert "mapping layer_by_layer" in text
    assert "DRAM of its own" in text


def test_names_are_escaped() -> None:
    evil = "</script><script>alert(1)</script>"
    found = priced(OptimizedModel(ToyEngine()), f"x/{evil}.onnx")
    layers = tuple(replace(layer, op=evil) for layer in found.report.layers)
    page = render_timeline_page(replace(found, report=replace(found.report, layers=layers), core_names=(evil,)))
    assert "alert(1)</script>" not in page


def test_writing(tmp_path: Path) -> None:
    found = priced(OptimizedModel(ToyEngine()))
    write_timeline_page(found, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").lstrip().startswith("<!DOCTYPE html>")
    with pytest.raises(InputError, match="folder must exist"):
        write_timeline_page(found, tmp_path / "none" / "page.html")
