from pathlib import Path

import pytest

from offramp.errors import InputError
from offramp.files.output_names import check_output_name


def test_only_files_of_the_kind_that_is_written_are_replaced(tmp_path: Path) -> None:
    image, table = tmp_path / "cat.png", tmp_path / "old.CSV"
    check_output_name(image, ".csv")
    check_output_name(tmp_path, ".csv")
    image.write_text("pixels")
    table.write_text("older")
    check_output_name(table, ".csv")
    with pytest.raises(InputError, match=r"cat.png' is a file already, and only one named \*.htm or \*.html"):
        check_output_name(image, ".htm", ".html")
