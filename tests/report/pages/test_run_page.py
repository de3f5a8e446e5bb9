import itertools
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from offramp import jsonio
from offramp.errors import RunError
from offramp.exits.accuracy_guarantee import Guarantee
from offramp.records.run_summary import RunSummary
from offramp.report.pages.run_page import render_page, write_page
from tests.report import fake

VOID = {"meta", "img", "br", "rect", "line", "path", "circle"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """The elements of a page in order; raises where tags do not match."""

    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]


LIBRARY = get_plotlyjs()


def parse(text: str) -> Page:
    """The page without the drawing library, whose five megabytes would keep the parser busy for seconds."""
    assert text.count(LIBRARY) == 1
    page = Page()
    page.feed(text.replace(LIBRARY, "/* plotly */"))
    page.close()
    assert not page.open
    return page


@pytest.fixture(scope="module")
def text() -> str:
    return render_page(fake.fake_summary())


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return parse(text)


def figures_of(page: Page) -> dict[str, Any]:
    plots = [element.attributes["data-figure"] for element in page.elements if "data-figure" in element.attributes]
    blocks = {element.attributes.get("id"): element.text for element in page.all("script")}
    return {name: json.loads(blocks[name]) for name in plots}


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for element in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data", "xlink:href"):
            value = element.attributes.get(name, "")
            assert not value or value.startswith(("#", "data:image/png;base64,")), (element.tag, value)
        assert element.tag not in {"link", "iframe", "object", "embed", "base", "form"}
    styles = " ".join(element.text for element in page.all("style"))
    assert "url(" not in styles
    assert "@import" not in styles


def test_the_page_itself_forbids_requests(page: Page) -> None:
    policy = next(e for e in page.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy")
    content = policy.attributes["content"]
    assert content.startswith("default-src 'none'")
    assert "http" not in content
    assert "connect-src" not in content


def test_size_and_the_one_copy_of_the_library(text: str) -> None:
    assert len(text.encode()) < 6e6
    assert "</script" not in LIBRARY
    assert text.count("plotly.js v") == 1
    assert text.startswith("<!DOCTYPE html>")


def test_ids_are_unique_and_links_lead_somewhere(page: Page) -> None:
    ids = Counter(e.attributes["id"] for e in page.elements if "id" in e.attributes)
    assert [name for name, number in ids.items() if number > 1] == []
    targets = [e.attributes["href"].removeprefix("#") for e in page.all("a")]
    assert len(targets) == 9
    assert set(targets) <= set(ids)
    named = {e.attributes["aria-labelledby"] for e in page.elements if "aria-labelledby" in e.attributes}
    assert named <= set(ids)


def test_headings_go_down_one_level_at_a_time(page: Page) -> None:
    levels = [int(e.tag[1]) for e in page.elements if re.fullmatch("h[1-6]", e.tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1


def test_tables_have_captions_and_scopes_and_scroll_in_their_own_box(page: Page) -> None:
    tables = page.all("table")
    assert len(tables) >= 8
    assert len(page.all("caption")) == len(tables)
    assert all(e.text.strip() for e in page.all("caption"))
    assert all(e.attributes.get("scope") in {"row", "col"} for e in page.all("th"))
    boxes = [e for e in page.all("div") if e.attributes.get("class") == "scroll"]
    assert len(boxes) == len(tables)
    assert all(e.attributes.get("tabindex") == "0" and e.attributes["aria-label"] for e in boxes)


def test_pictures_have_words(page: Page) -> None:
    images = page.all("img")
    assert len(images) == 8
    assert images[0].attributes["alt"] == "Test image of class 0"
    drawings = [e for e in page.elements if e.attributes.get("role") == "img"]
    assert len(drawings) >= 20
    assert all(len(e.attributes["aria-label"]) > 20 for e in drawings)
    others = [e for e in page.all("svg") if e.attributes.get("role") != "img"]
    assert all(e.attributes.get("aria-hidden") == "true" for e in others)


def test_every_figure_is_one_that_plotly_accepts(page: Page) -> None:
    import plotly.graph_objects as go

    specs = figures_of(page)
    # Front: 4; per network: exits, split, energy, cycles, timeline; training: 4; progress: 1.
    assert len(specs) == 4 + 3 * 5 + 4 + 1
    for spec in specs.values():
        assert len(go.Figure(spec).data) >= 1
        assert "template" not in spec["layout"]
        assert spec["layout"]["showlegend"] is False


def test_legends_are_written_for_figures_with_several_series(page: Page) -> None:
    legends = [e for e in page.all("ul") if e.attributes.get("class") == "legend small"]
    assert len(legends) == 3 * 5 + 4
    assert "dram" in next(e.text for e in legends if "sram" in e.text)


def test_the_summary_stands_on_top(page: Page) -> None:
    found = next(e for e in page.all("p") if e.attributes.get("class") == "found")
    assert found.text == "Undecided whether early exits pay."
    details = next(e for e in page.all("p") if e.attributes.get("class") == "details")
    assert "Against the static match:" in details.text
    assert len([e for e in page.all("div") if e.attributes.get("class") == "card"]) == 5
    assert page.all("html")[0].attributes["lang"] == "en"
    assert page.all("title")[0].text == "Early-exit networks for digits on edge-tpu-quad"


def test_dark_and_light_know_the_same_roles(text: str) -> None:
    roots = re.findall(r"(:root[^{]*)\{ ((?:--[\w-]+: #\w+; )+)", text.replace(LIBRARY, ""))
    assert len(roots) == 3
    names = [set(re.findall(r"--([\w-]+):", body)) for _, body in roots]
    assert names[0] == names[1] == names[2]
    used = set(re.findall(r"var\(--([\w-]+)\)", text.replace(LIBRARY, "")))
    assert {"text", "background", "blue"} <= used <= names[0]


SKIPPED = {
    "mapping",
    "status",
    "metric",
    "direction",
    "relation",
    "role",
    "measure",
    "convention",
    "created",
    "png_base64",
    "correct",
    "exits",
    "answer",
}
ATTACK = (
    "<script>alert(1)</script>"
    '"><img src=x onerror=alert(1)>'
    "</script><script>alert(1)</script>"
    "' onmouseover='alert(1)"
    "{{ 7 * 7 }}{% raw %}"
    "]]><!--"
    "\u2028${alert(1)}`"
)


def poisoned(value: Any, key: str = "") -> Any:
    """All texts of a summary with an attack appended, but those that must be one of a few words."""
    if isinstance(value, dict):
        return {name: poisoned(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, key) for item in value]
    return f"{value}{ATTACK}" if isinstance(value, str) and key not in SKIPPED else value


def test_no_text_of_a_run_becomes_part_of_the_page(page: Page) -> None:
    data = poisoned(jsonio.to_data(fake.fake_summary()))
    evil = parse(render_page(jsonio.from_data(RunSummary, data)))
    assert ATTACK in evil.all("h1")[0].text
    assert ATTACK in evil.all("pre")[0].text
    assert [e.tag for e in evil.elements if e.tag != "li"] == [e.tag for e in page.elements if e.tag != "li"]
    assert not any(name.startswith("on") for e in evil.elements for name in e.attributes)
    assert all(e.attributes["src"].startswith("data:image/png;base64,") for e in evil.all("img"))
    # Plotly reads its texts as markup: only the page's own tags may be in there.
    for spec in figures_of(evil).values():
        tags = set(re.findall(r"<[^>]*>", json.dumps(spec, ensure_ascii=False)))
        assert tags <= {"<b>", "</b>", "<br>", "<extra>", "</extra>"}


def one_network(*, tested: bool = True, trained: bool = True) -> RunSummary:
    full = fake.fake_summary(count=12, tested=tested, trained=trained)
    return replace(full, chosen=full.chosen[:1], training=full.training[:1])


def variations() -> dict[str, RunSummary]:
    full = one_network()
    single = next(item for item in full.evaluations if item.feasible and not item.architecture.exits)
    lonely = replace(full, evaluations=(single,), front_indices=(0,), samples=(), training=(), constraints=())
    network = full.chosen[0]
    return {
        "untested": one_network(tested=False),
        "untrained": one_network(trained=False),
        "one network without exits": replace(lonely, chosen=(fake.chosen("knee", single, tested=False),), warnings=()),
        "nothing chosen": replace(full, chosen=(), samples=()),
        "nothing feasible": replace(lonely, evaluations=full.evaluations[:1], front_indices=(), chosen=()),
        "nothing tried": replace(lonely, evaluations=(), front_indices=(), chosen=()),
        "no settings": replace(full, settings_text="", environment=(), core_names=(), clock_hz=None, duration_s=None),
        "no layers": replace(full, chosen=(replace(network, cost=replace(network.cost, layers=())),), max_depths=()),
        "picked by place": replace(full, chosen=(replace(network, rule="2"),), samples=full.samples[:1]),
    }


@pytest.mark.parametrize("name", list(variations()))
def test_runs_that_lack_something_render_too(name: str) -> None:
    summary = variations()[name]
    page = parse(render_page(summary))
    shown = {e.attributes["id"] for e in page.all("section")}
    several = [network for network in summary.chosen if network.num_exits > 1]
    assert sum("exits" in figure for figure in figures_of(page)) == len(several)
    assert ("samples" in shown) == bool(summary.samples)
    assert ("training" in shown) == bool(summary.training)
    assert ("costs" in shown) == ("schedule" in shown) == bool(summary.chosen)
    assert {"front", "chosen", "settings", "glossary"} <= shown
    links = {e.attributes["href"].removeprefix("#") for e in page.all("a")}
    assert links == shown
    body = " ".join(e.text for e in page.all("main"))
    assert "None" not in body
    assert not re.search(r"\bnan\b|\binf\b", " ".join(e.text for e in page.all("td")))


def test_alerts_stand_above_the_headline() -> None:
    alert = "The networks have learned little."
    page = render_page(replace(fake.fake_summary(count=12), alerts=(alert,)))
    assert page.index(alert) < page.index('class="found"') < page.index('class="cards"')
    assert "Read this first" not in render_page(fake.fake_summary(count=12))


def test_warnings_of_the_run_and_of_the_engine_are_shown_once() -> None:
    summary = variations()["nothing tried"]
    cost = replace(summary.static_reference.cost, warnings=("weights do not fit", "told twice"))
    reference = replace(summary.static_reference, cost=cost)
    page = parse(render_page(replace(summary, static_reference=reference, warnings=("told twice",))))
    box = next(e for e in page.all("div") if e.attributes.get("class") == "warnings")
    assert box.text.count("told twice") == 1
    assert "weights do not fit" in box.text


def test_the_line_below_the_title_does_not_repeat_it() -> None:
    summary = fake.fake_summary(count=12)
    subject = f"{summary.data.name} on {summary.accelerator}"
    bylines = [
        re.search('<p class="byline">(.*?)</p>', render_page(replace(summary, title=title)))
        for title in (subject, "A title of my own")
    ]
    date = summary.created.strftime("%d %B %Y").lstrip("0")
    assert [line and line[1] for line in bylines] == [date, f"{subject}, {date}"]


def test_the_training_of_a_static_network_is_called_fine_tuning() -> None:
    summary = fake.fake_summary(count=12)
    static = replace(summary.chosen[0], rule="static-0a1b2c3d")
    curve = replace(summary.training[0], name="static-0a1b2c3d")
    text = render_page(replace(summary, static_networks=(static,), training=(curve,)))
    assert "Fine-tuning: static-0a1b2c3d" in text


def test_write_page(tmp_path: Path) -> None:
    summary = variations()["nothing tried"]
    write_page(summary, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_page(summary)
    with pytest.raises(RunError, match="cannot be written"):
        write_page(summary, tmp_path / "none" / "report.html")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), list(itertools.product((375, 1280), (False, True))))
def test_a_browser_draws_all_of_it(tmp_path: Path, text: str, width: int, dark: bool) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs a Chromium browser")
    # A browser window is at least 500 pixels wide; a frame in it may be as narrow as a phone.
    probe = (
        "<script>addEventListener('load', () => setTimeout(() => parent.postMessage(["
        "document.documentElement.scrollWidth, innerWidth, document.querySelectorAll('.plot .main-svg').length,"
        "getComputedStyle(document.body).backgroundColor].join('|'), '*'), 1500))</script></body>"
    )
    (tmp_path / "inner.html").write_text(text.replace("</body>", probe), encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(
        f"<body><iframe src='inner.html' width='{width}' height='2000' style='border:0'></iframe>"
        "<script>addEventListener('message', event => { document.body.dataset.probe = event.data; })</script></body>",
        encoding="utf-8",
    )
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'user'}"]
    command += ["--window-size=1400,2000", "--virtual-time-budget=8000", "--dump-dom"]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run([*command, outer.as_uri()], capture_output=True, text=True, check=True, timeout=120)
    result = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert result is not None
    scroll, inner_width, drawn, colour = result.group(1).split("|")
    # Figures in closed boxes wait until they are opened; each drawn one has at least two layers.
    assert int(drawn) >= 2 * (4 + 3 + 4 + 4 + 1)
    assert int(inner_width) == width
    assert int(scroll) <= width
    assert ("rgb(20, 23, 28)" in colour) == dark


def test_what_was_promised_stands_with_the_policy() -> None:
    summary = fake.fake_summary(count=12)
    first, *others = summary.chosen
    guarantee = Guarantee(0.01, 0.05, "binomial", 135, 0.009)
    policy = replace(first.policy, temperatures=(1.5,) * first.num_exits)
    chosen = (replace(first, guarantee=guarantee, policy=policy), *others)
    text = render_page(replace(summary, chosen=chosen))
    assert text.count("leaving early costs at most") == 1
    assert text.count("divided by a temperature of its own") == 1
