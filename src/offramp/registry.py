"""Registries: plug-ins of one kind by name, from this package and from other installed packages."""

import difflib
import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Generic, TypeVar, cast

from offramp.errors import UnknownNameError

T = TypeVar("T")


class PluginWarning(UserWarning):
    """A plug-in of another package cannot be used and was skipped."""


@dataclass(frozen=True)
class Expectation:
    """What the plug-ins of a registry must be.

    Attributes:
        phrase: The end of the sentence "It must be ...", such as ``a CostEngine``.
        holds: Whether an object is of that sort.
    """

    phrase: str
    holds: Callable[[object], bool]

    def fault(self, item: object) -> str | None:
        """Compare an object with the expectation.

        Args:
            item: Any object.

        Returns:
            What is expected and what was given, to follow the subject of a sentence; None if the object is right.
        """
        if self.holds(item):
            return None
        found = f"the class {item.__name__}" if isinstance(item, type) else f"an object of type {type(item).__name__}"
        return f"must be {self.phrase}, got {found}"


CALLABLE = Expectation("a function, a class or another callable", callable)


def instance_of(kind: type) -> Expectation:
    """Expect instances of a class.

    Args:
        kind: The class. It is not a protocol.

    Returns:
        The expectation.
    """
    return Expectation(f"an object of class {kind.__name__}", lambda item: isinstance(item, kind))


def subclass_of(base: type) -> Expectation:
    """Expect classes that derive from a class and have no abstract method left.

    Args:
        base: The base class.

    Returns:
        The expectation.
    """
    return Expectation(
        f"a class that derives from {base.__name__} and defines its abstract methods",
        lambda item: isinstance(item, type) and issubclass(item, base) and not inspect.isabstract(item),
    )


def object_like(protocol: type) -> Expectation:
    """Expect objects, not classes, with all attributes and methods of a protocol.

    Args:
        protocol: The protocol. It inherits from no other protocol.

    Returns:
        The expectation. It looks at names only, not at signatures.
    """
    declared = {**inspect.get_annotations(protocol), **vars(protocol)}
    members = [name for name in declared if not name.startswith("_")]
    return Expectation(
        f"an object (not a class) with {', '.join(f'`{name}`' for name in members)}",
        lambda item: not isinstance(item, type) and all(hasattr(item, name) for name in members),
    )


class Registry(Generic[T]):
    """Plug-ins of one kind by name.

    The first look-up imports all modules of ``package`` and loads the entry points of the group ``entry_points``. So a
    plug-in is added by a file in the package, or by an entry point of another package::

        [project.entry-points."offramp.algorithms"]
        my_search = "my_package.search:MySearch"   # the object itself, registered as my_search
        my_other_search = "my_package.other"       # a module that registers my_other_search when it is imported

    A plug-in of another package that fails, or that is not what the registry expects, is skipped with a
    `PluginWarning`.

    Attributes:
        kind: What the plug-ins are, for messages, such as ``search algorithm``.
        group: The entry-point group of other packages, or None.
        expects: What the plug-ins must be; None for any object.
    """

    def __init__(
        self,
        kind: str,
        package: str | None = None,
        *,
        entry_points: str | None = None,
        expects: Expectation | None = None,
    ) -> None:
        """Make an empty registry; nothing is imported yet.

        Args:
            kind: What the plug-ins are, for messages.
            package: The package whose modules, sub-packages included, register plug-ins; None for no package.
            entry_points: The entry-point group in which other packages announce plug-ins; None for no group.
            expects: What the plug-ins must be; None for any object.
        """
        self.kind = kind
        self.group = entry_points
        self.expects = expects
        self._package = package
        self._items: dict[str, T] = {}
        self._failures: dict[str, str] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate an object to register it.

        Args:
            name: The name to register it under.

        Returns:
            The decorator, which gives the object back unchanged. It raises the errors of `add`.
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
            TypeError: If the object is not what the registry expects.
            ValueError: If another object is registered under this name.
        """
        fault = None if self.expects is None else self.expects.fault(item)
        if fault is not None:
            raise _UnexpectedTypeError(f"{self.kind} {name!r} {fault}")
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


class _UnexpectedTypeError(TypeError):
    """A plug-in is not what its registry expects. The message is complete, unlike that of another TypeError."""


def warn_of_unknown_groups(groups: Collection[str]) -> None:
    """Warn of plug-ins that other packages announce in a group of offramp's that does not exist.

    Args:
        groups: The entry-point groups of all registries.
    """
    ours = [group for group in entry_points().groups if group.lower().partition(".")[0] == "offramp"]
    for group in sorted(set(ours) - set(groups)):
        near = difflib.get_close_matches(group, groups, n=1)
        hint = f" Did its author mean {near[0]!r}?" if near else ""
        for entry in entry_points(group=group):
            warnings.warn(
                f"The plug-in {entry.name!r} of {_distribution(entry)} is not loaded: there is no entry-point group "
                f"{group!r}.{hint} The groups are {', '.join(sorted(groups))}.",
                PluginWarning,
                stacklevel=2,
            )


def _distribution(entry: EntryPoint) -> str:
    return "an unknown distribution" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def _reason(exc: BaseException) -> str:
    text = " ".join(str(exc).split()).rstrip(".")
    return (
        text
        if isinstance(exc, ValueError | _UnexpectedTypeError) and text
        else f"{type(exc).__name__}: {text}".rstrip(": ")
    )


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
