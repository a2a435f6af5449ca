"""Why a worker cannot start; each message is one line that names the repair."""


class CannotStart(Exception):
    """What the worker was given, or found on this machine, cannot be used."""


class BadAddress(CannotStart):
    """An address that cannot be used."""


class BadSetting(CannotStart):
    """A flag, a variable or a file that cannot be used."""


class BadStateDir(CannotStart):
    """A state folder that cannot be used."""


class StateDirInUse(BadStateDir):
    """A state folder with which another worker runs."""


class PortTaken(CannotStart):
    """The wished port, or every one of the tried ports, is in use."""
