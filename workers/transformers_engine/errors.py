"""Refusals of this engine; each becomes an answer in OpenAI's shape."""

from workers.refusals import RequestRefused


class EngineFull(RequestRefused):
    """So many wait in line that one more would only wait in vain."""

    def __init__(self, num_waiting: int) -> None:
        super().__init__(
            f"The engine is full: {num_waiting} requests wait in line. Try later.",
            code="engine_full",
            status=503,
        )


def context_exceeded(
    limit: int, num_prompt: int, wished: int | None, field: str = "messages"
) -> RequestRefused:
    """Return the refusal of a prompt that, with its completion, does not fit."""
    message = (
        f"This model's maximum context length is {limit} tokens. However, your {field}"
        f" resulted in {num_prompt} tokens."
    )
    if wished is not None and num_prompt < limit:
        message = (
            f"This model's maximum context length is {limit} tokens. However, you"
            f" requested {num_prompt + wished} tokens ({num_prompt} in the messages,"
            f" {wished} in the completion)."
        )
    return RequestRefused(message, field, "context_length_exceeded")


def unsupported(field: str, what: str) -> RequestRefused:
    """Return the refusal of a `field` that asks for what this engine cannot do."""
    return RequestRefused(
        f"{field}: this model's worker does not support {what}; a vLLM worker does.",
        field,
        "unsupported_parameter",
    )
