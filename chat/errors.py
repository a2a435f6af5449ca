"""What the chat refuses. The page words each code in the reader's language."""

from controller.errors import InvalidRequest, NotFound


class ConversationNotFound(NotFound):
    """No such conversation or message, or another user's: the same answer."""

    def __init__(self) -> None:
        super().__init__("There is no such conversation.")


class UnreadableMessage(InvalidRequest):
    """A client message that is not one of the protocol's."""

    code = "unreadable"


class PromptTooLong(InvalidRequest):
    code = "prompt_too_long"

    def __init__(self, maximum: int) -> None:
        super().__init__(f"A message may have at most {maximum:,} characters.")


class EmptyPrompt(InvalidRequest):
    code = "empty_prompt"

    def __init__(self) -> None:
        super().__init__("The message is empty.")


class RemarkTooLong(InvalidRequest):
    code = "remark_too_long"

    def __init__(self, maximum: int) -> None:
        super().__init__(f"A remark may have at most {maximum:,} characters.")


class NothingToContinue(InvalidRequest):
    """Only the last answer can be gone on with, and only one that was cut."""

    status = 409
    code = "nothing_to_continue"

    def __init__(self) -> None:
        super().__init__("This answer was not cut, or is not the last one.")


class AnswerInProgress(InvalidRequest):
    """One answer at a time in a conversation."""

    status = 409
    code = "answer_in_progress"

    def __init__(self) -> None:
        super().__init__("Wait for the answer in progress, or stop it first.")


class TooManyGenerations(InvalidRequest):
    status = 429
    code = "too_many_generations"

    def __init__(self, maximum: int) -> None:
        super().__init__(
            f"At most {maximum} answers may be written at a time. Stop one first."
        )


class SetupRefused(InvalidRequest):
    """Parameters that no model takes; `fields` has a sentence for each."""

    code = "setup_refused"

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(" ".join(f"{name}: {why}" for name, why in fields.items()))
        self.fields = fields


class AttachmentRefused(InvalidRequest):
    """A file that cannot go along with a prompt; the sentence says why."""

    code = "attachment_refused"


class AttachmentNotFound(NotFound):
    """No such attachment, or another user's: the same answer."""

    def __init__(self) -> None:
        super().__init__("There is no such attachment.")
