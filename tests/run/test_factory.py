from pathlib import Path

import pytest

from offramp.errors import ConfigError
from offramp.run.api import search
from tests.conftest import small_config


def test_a_batch_of_one_is_refused_where_batch_norms_learn(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size and the number .* at least 2.*got 1 and 1079"):
        search(small_config(train__batch_size=1), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
