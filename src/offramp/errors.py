"""Every exception a user of offramp can catch.

An error message says what must hold, what was given and what to do about it.
"""


class OfframpError(Exception):
    """Base of all errors that offramp raises on purpose."""


class InputError(OfframpError):
    """Something the user gave is wrong; the command line ends with exit code 2."""


class ConfigError(InputError):
    """A setting has a value it must not have, or a settings file cannot be read."""


class UnknownNameError(InputError):
    """A name that no registered plug-in has."""


class DataError(InputError):
    """A data set is missing, damaged or not what it says it is."""


class AcceleratorError(InputError):
    """An accelerator description has faults; the message lists all of them."""


class WorkloadError(InputError):
    """A network or a graph file cannot be read as an early-exit workload."""


class UnsupportedLayerError(WorkloadError):
    """Layers that a cost engine cannot price; the message names all of them."""


class ConstraintError(InputError):
    """A constraint or an objective cannot be understood, or nothing can satisfy it."""


class AdoptError(InputError):
    """The adopted model cannot be cut into stages, or does not fit the data."""


class BundleError(InputError):
    """An exported bundle is damaged, incomplete or not safe to load."""


class TableError(InputError):
    """A file of a table is damaged, or not a table; or a table has no answer to what is asked."""


class RunError(InputError):
    """A run folder cannot be used: not writable, in use, or of another version."""


class UntrustedRunError(RunError):
    """A run folder from elsewhere names files outside of it, and the user has not agreed that they are read."""


class ExportError(OfframpError):
    """An exported file does not reproduce the network it was made from."""


class WorkerError(OfframpError):
    """Workers cannot be started, or the cluster that they belong to cannot be used."""


class Interrupted(OfframpError):  # noqa: N818 - the user's wish, not a fault
    """The user asked for a stop; what was finished before is kept."""
