"""What an engine of ours does not do, and why: answers in OpenAI's shape."""


class RequestRefused(Exception):
    """A request that cannot be served as it stands: status, message, field, code."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status
        self.retry_after = retry_after
        """Seconds after which it may go better; None: it will not."""


class GenerationFailed(Exception):
    """The engine could not finish a sequence, for a reason that is not the client's."""
