"""What can go wrong in the terminal. Each text is what the person reads."""


class TerminalError(Exception):
    """Its text names the value and the repair."""


class BadSetting(TerminalError):
    """A flag, variable or file that cannot be used."""


class BadCommand(TerminalError):
    """A line after `/` that cannot be done."""


class ServerAway(TerminalError):
    """Nothing answers, or not in time."""


class Refused(TerminalError):
    """The server answered with an error."""


class AnswerCut(TerminalError):
    """A stream ended before the answer did."""
