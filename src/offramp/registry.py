"""Registries: plug-ins of one kind by name, from this package and from other installed packages."""

import difflib
import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Generic, TypeVar, cast

from offramp.errors import UnknownNameError

T = TypeVar("T")


class PluginWarning(UserWarning):
    """A plug-in of another package cannot be used and was skipped."""


class Registry(Generic[T]):
    """Plug-ins of one kind by name.

    The first look-up imports all modules of ``package`` and loads the entry points of the group ``entry_points``. So a
    plug-in is added by a file in the package, or by an entry point of another package::

        [project.entry-points."offramp.algorithms"]
        my_search = "my_package.search:MySearch"   # the object itself, registered as my_search
        my_other_search = "my_package.other"       # a module that registers my_other_search when it is imported

    A plug-in of another package that fails is skipped with a `PluginWarning`.

    Attributes:
        kind: What the plug-ins are, for messages, such as ``search algorithm``.
        group: The entry-point group of other packages, or None.
    """

    def __init__(self, kind: str, package: str | None = None, *, entry_points: str | None = None) -> None:
        """Make an empty registry; nothing is imported yet.

        Args:
            kind: What the plug-ins are, for messages.
            package: The package whose modules, sub-packages included, register plug-ins; None for no package.
            entry_points: The entry-point group in which other packages announce plug-ins; None for no group.
        """
        self.kind = kind
        self.group = entry_points
        self._package = package
        self._items: dict[str, T] = {}
        self._failures: dict[str, str] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate an object to register it.

        Args:
            name: The name to register it under.

        Returns:
            The decorator, which gives the object back unchanged. It raises ValueError for a name that is taken.
        """

        def add(item: T) -> T:
            self.add(name, item)
            return item

        return add

    def add(self, name: str, item: T) -> None:
        """Register an object.

        Args:
            name: The name to register it under.
            item: The plug-in.

        Raises:
            ValueError: If another object is registered under this name.
        """
        if name in self._items and self._items[name] is not item:
            raise ValueError(f"{self.kind} {name!r} is registered twice; every {self.kind} must have a name of its own")
        self._items[name] = item

    def get(self, name: str) -> T:
        """Look a plug-in up.

        Args:
            name: Its name.

        Returns:
            The plug-in of this name.

        Raises:
            UnknownNameError: If there is none; the message lists the names and suggests a similar one. It says why
                the plug-in of this name could not be loaded, where that is the reason.
        """
        self._discover()
        if name not in self._items:
            message = unknown_name_message(self.kind, name, list(self))
            raise UnknownNameError(" ".join(filter(None, [message, self._failures.get(name)])))
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._items))

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._items

    def _discover(self) -> None:
        if self._discovered:
            return
        # Set first: a module that is imported may look names up.
        self._discovered = True
        if self._package is not None:
            package = importlib.import_module(self._package)
            for module in pkgutil.walk_packages(package.__path__, f"{self._package}."):
                importlib.import_module(module.name)
        if self.group is not None:
            for entry in sorted(entry_points(group=self.group), key=lambda item: (item.name, item.value)):
                self._load(entry)

    def _load(self, entry: EntryPoint) -> None:
        """Load a plug-in of another package; if it fails, leave everything as it was and warn."""
        before = dict(self._items)
        try:
            loaded = entry.load()
            if not isinstance(loaded, ModuleType):
                self.add(entry.name, cast(T, loaded))
            elif entry.name not in self._items:
                # What the module did register stays: it is imported only once, and other entries may name it too.
                names = ", ".join(repr(name) for name in self._items if name not in before)
                reason = f"the module does not register {entry.name!r} when it is imported"
                self._skip(entry, f"{reason}, but {names}" if names else reason)
        # Whatever another package does wrong must not stop this one, so every Exception counts, and so does sys.exit().
        except (Exception, SystemExit) as exc:
            self._items = before
            self._skip(entry, _reason(exc))

    def _skip(self, entry: EntryPoint, reason: str) -> None:
        """Warn of a plug-in of another package that cannot be used."""
        message = f"The {self.kind} {entry.name!r} of {_distribution(entry)} is skipped: {reason}."
        self._failures[entry.name] = message
        warnings.warn(message, PluginWarning, stacklevel=5)


def _distribution(entry: EntryPoint) -> str:
    return "an unknown distribution" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def _reason(exc: BaseException) -> str:
    text = " ".join(str(exc).split()).rstrip(".")
    return text if isinstance(exc, ValueError) and text else f"{type(exc).__name__}: {text}".rstrip(": ")


def unknown_name_message(kind: str, name: str, available: list[str]) -> str:
    """Say that a name does not exist, in one or two sentences.

    Args:
        kind: What the name should be of, such as ``backbone``.
        name: The name that was given.
        available: All names that exist.

    Returns:
        The message, with the most similar name, if one is similar, and all names.
    """
    near = difflib.get_close_matches(name, available, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {kind} {name!r}.{hint} Available: {', '.join(sorted(available)) or 'none'}."
