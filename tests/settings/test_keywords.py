"""The keywords of `offramp.search` are the settings, and a type checker knows them."""

import ast
import inspect
from typing import Unpack, get_type_hints

from offramp.run.api import search
from offramp.settings.by_name import with_settings
from offramp.settings.keywords import KeywordSettings
from tests.settings.write_keywords import TARGET, written


def test_the_keywords_are_the_fields_of_the_settings() -> None:
    again = "run `python -m tests.settings.write_keywords`"
    assert ast.dump(ast.parse(TARGET.read_text())) == ast.dump(ast.parse(written())), again


def test_searches_and_helpers_take_them() -> None:
    for function in (search, with_settings):
        settings = inspect.signature(function).parameters["settings"]
        assert settings.kind is inspect.Parameter.VAR_KEYWORD
        assert get_type_hints(function)["settings"] == Unpack[KeywordSettings]
