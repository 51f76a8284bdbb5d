"""Every error plica raises on purpose: what is wrong, what was got, where, and what to do."""


class PlicaError(Exception):
    """Base of all errors that plica raises on purpose."""


class ModelError(PlicaError):
    """A model file cannot be read: truncated, empty, corrupt, unsafe, or with weights that are not finite."""


class UnsupportedLayer(ModelError):
    """A node of the model is not piecewise linear, or not known to plica."""


class ShapeError(PlicaError, ValueError):
    """An array has the wrong shape."""


class DataError(PlicaError, ValueError):
    """A data file or a data array cannot be used: wrong format, not finite, or labels that do not fit."""


class ArgumentError(PlicaError, ValueError):
    """An argument has a value that makes no sense here."""


class DeviceError(PlicaError, ValueError):
    """A device cannot do what plica needs (float64)."""


class MemoryBudgetError(PlicaError, MemoryError):
    """The answer does not fit into the stated budget; the message holds the arithmetic."""


class BudgetReached(PlicaError):
    """A budget of time or pieces ran out; analyses catch it and return what they have."""


class SolverError(PlicaError, RuntimeError):
    """A solver ended without an answer, and no second way was found."""


class ImportMismatch(ModelError):
    """The loaded network and the original model disagree on random inputs."""


class ReshapeNotice(UserWarning):
    """Data of the right size but another shape were reshaped to the network's input."""
