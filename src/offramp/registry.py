"""Names to builders: the one way plug-ins are found."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from offramp.errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Plug-ins of one kind by name.

    ``package``, with the folders below it, is searched for plug-in files on the first look-up, so that adding
    a file there is all it takes to add a plug-in.
    """

    def __init__(self, kind: str, package: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._items: dict[str, T] = {}
        self._discovered = package is None

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files an object under ``name``."""

        def add(item: T) -> T:
            self.add(name, item)
            return item

        return add

    def add(self, name: str, item: T) -> None:
        if name in self._items and self._items[name] is not item:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._items[name] = item

    def get(self, name: str) -> T:
        """The plug-in called ``name``; an unknown name is answered with near ones."""
        self._discover()
        if name not in self._items:
            raise UnknownNameError(unknown_name_message(self.kind, name, list(self)))
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._items))

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._items

    def _discover(self) -> None:
        if self._discovered or self._package is None:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.walk_packages(package.__path__, f"{self._package}."):
            importlib.import_module(module.name)


def unknown_name_message(kind: str, name: str, available: list[str]) -> str:
    """The sentence for a name that is not there."""
    near = difflib.get_close_matches(name, available, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {kind} {name!r}.{hint} Available: {', '.join(sorted(available)) or 'none'}."
