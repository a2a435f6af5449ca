"""What the chat refuses. The page words each code in the reader's language."""

import math

from controller.errors import InvalidRequest, NotFound, RateLimited, SwitchyardError


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


class TooManyQuestions(RateLimited):
    """Nobody writes so fast; waiting helps."""

    code = "too_many_questions"

    def __init__(self, maximum: int, seconds: float) -> None:
        super().__init__(
            f"At most {maximum} questions may be asked in a minute."
            f" Ask again in {math.ceil(seconds)} s."
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


class FolderNotFound(NotFound):
    """No such folder, or another user's."""

    def __init__(self) -> None:
        super().__init__("There is no such folder.")


class BlankName(InvalidRequest):
    code = "blank_name"

    def __init__(self) -> None:
        super().__init__("A name needs at least one character.")


class FolderExists(InvalidRequest):
    status = 409
    code = "folder_exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a folder “{name}” already.")


class TooManyFolders(InvalidRequest):
    code = "too_many_folders"

    def __init__(self, maximum: int) -> None:
        super().__init__(f"There may be at most {maximum} folders. Delete one first.")


class SignedOut(SwitchyardError):
    status = 401
    code = "signed_out"

    def __init__(self) -> None:
        super().__init__("Sign in first.")


class ImportTooLarge(InvalidRequest):
    status = 413
    code = "import_too_large"

    def __init__(self, maximum: int) -> None:
        super().__init__(
            f"The file, unpacked, has more than {maximum // 2**20} MiB. Split it."
        )


class NothingToImport(InvalidRequest):
    code = "nothing_to_import"

    def __init__(self, why: str) -> None:
        super().__init__(f"The file cannot be imported: {why}.")


class SharedLinkNotFound(NotFound):
    """No such link, or another user's."""

    def __init__(self) -> None:
        super().__init__("There is no such link.")


class SharingOff(InvalidRequest):
    status = 403
    code = "sharing_off"

    def __init__(self) -> None:
        super().__init__("Sharing by link is switched off on this site.")


class TooManySharedLinks(InvalidRequest):
    code = "too_many_links"

    def __init__(self, maximum: int) -> None:
        super().__init__(f"At most {maximum} links may be open. Revoke one first.")
