"""The gallery: reports of real runs, kept as their summaries and rendered by the code of today.

`python docs/gallery.py RUN NAME` puts the summary of a finished run into `docs/gallery/NAME.json.gz`.
"""

import gzip
import re
import sys
from dataclasses import replace
from pathlib import Path

from offramp import jsonio
from offramp.errors import RunError
from offramp.records.run_summary import RunSummary, load_summary
from offramp.report.pages.run_page import render_page

FOLDER = Path(__file__).parent / "gallery"


def keep(run: Path, name: str) -> Path:
    """Copy a run's summary, without sample images of data that are not ours to give away."""
    summary = load_summary(run / "summary.json")
    if summary.data.name != "digits":
        summary = replace(summary, samples=())
    # Where the data lay is nobody's business.
    settings = re.sub(r"(?<=source: ).*/", "path/to/", summary.settings_text)
    summary = replace(summary, settings_text=settings)
    FOLDER.mkdir(exist_ok=True)
    target = FOLDER / f"{name}.json.gz"
    # Without a time stamp, so that the same run gives the same file.
    target.write_bytes(gzip.compress(jsonio.dumps(summary).encode(), mtime=0))
    return target


def render_gallery(site: Path) -> None:
    """Write the pages that `gallery.md` links to."""
    folder = site / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    for packed in sorted(FOLDER.glob("*.json.gz")):
        text = gzip.decompress(packed.read_bytes()).decode()
        summary = jsonio.loads(RunSummary, text, what=f"Summary {packed}", error=RunError)
        (folder / f"{packed.name.removesuffix('.json.gz')}.html").write_text(render_page(summary), encoding="utf-8")


if __name__ == "__main__":
    print(keep(Path(sys.argv[1]), sys.argv[2]))
