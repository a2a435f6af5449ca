"""The words that the page's script shows, in the reader's language."""

from django.utils.translation import gettext as _

from chat.library_words import library_words


def page_words() -> dict[str, str]:
    """By the key that the script knows; `{name}` is filled in there."""
    return {
        **library_words(),
        "copy": _("Copy"),
        "copied": _("Copied"),
        "copyCode": _("Copy code"),
        "diagram": _("Diagram"),
        "diagramSource": _("Source"),
        "retry": _("Try again"),
        "regenerate": _("Regenerate"),
        "send": _("Send"),
        "stop": _("Stop"),
        "you": _("You said"),
        "thinking": _("Thinking"),
        "waiting": _("All workers are busy. Place {position} of {length} in line"),
        "waitingSeconds": _("about {seconds} s"),
        "waitingMinutes": _("about {minutes} min"),
        "yourTurn": _("It is your turn."),
        "answerReady": _("The answer is complete."),
        "answerStopped": _("The answer was stopped."),
        "stopped": _("Stopped"),
        "moving": _("The worker broke off. Another one is to go on…"),
        "moved": _("Another worker went on with this answer."),
        "emptyAnswer": _("The model answered with nothing."),
        "done": _("Done"),
        "open": _("Not done"),
        "unattended": _("Stopped, as no page was open"),
        "cutByLength": _("The model's limit was reached; the answer is cut."),
        "cutByRule": _("A rule of this site ended the answer."),
        "tokens": _("{count} tokens"),
        "promptTokens": _("{count} prompt tokens"),
        "ttft": _("first token after {seconds} s"),
        "speed": _("{count} tokens/s"),
        "contextLength": _("{count} tokens of context"),
        "noModel": _("No model"),
        "noSuchModel": _("No model is found by these words."),
        "seesImages": _("sees images"),
        "modelBusy": _("All its workers are busy now"),
        "modelWait": _("All its workers are busy now: a wait of {about}"),
        "setupIsSet": _("Something is set here."),
        "attachments": _("Attachments"),
        "kilobytes": _("{count} kB"),
        "aboutTokens": _("about {count} tokens"),
        "onlyBeginning": _("only its beginning is read"),
        "uploading": _("Uploading…"),
        "notUploaded": _("The server was not reached. Remove it and attach it again."),
        "removeFile": _("Remove {name}"),
        "fileTooLarge": _("The file is larger than {count} MB."),
        "tooManyFiles": _("At most {count} files can be attached to a message."),
        "pastedName": _("Pasted text.txt"),
        "documentsFit": _("About {count} tokens of documents: they fit."),
        "documentsCut": _(
            "About {fits} of {count} tokens of documents fit into what {model} can"
            " read; the rest is left out."
        ),
        "modelIsBlind": _(
            "{model} does not see images. Pick a model that does, or remove them."
        ),
        "queueWaits": _("Sent when the answer is complete"),
        "queueHeld": _("Held back, for you to decide"),
        "removeFromQueue": _("Do not send"),
        "filesAttached": _("{count} attached"),
        "shelfOwn": _("Yours"),
        "shelfSite": _("Everybody's"),
        "allPrompts": _("All saved prompts…"),
        "allPresets": _("All presets…"),
        "noPreset": _("None"),
        "presetKept": _("It is kept."),
        "commandModel": _("Choose another model"),
        "commandPrompt": _("Insert a saved prompt"),
        "commandPreset": _("Set this conversation up by a preset"),
        "commandSystem": _("Give the model instructions"),
        "commandSettings": _("Instructions and parameters"),
        "commandAttach": _("Attach files"),
        "commandNew": _("Begin a new chat"),
        "commandStop": _("Stop the answer"),
        "commandHelp": _("Show the keyboard shortcuts"),
        "argumentModel": _("model"),
        "argumentName": _("name"),
        "argumentText": _("text"),
        "notSaved": _("The server was not reached. Nothing is saved; try again."),
        "modelGone": _("not available now"),
        "reconnecting": _("Connection lost. Reconnecting…"),
        "offline": _("You are offline. Reconnecting as soon as you are back…"),
        "promptTooLong": _("At most {count} characters can be sent."),
        "failedTitle": _("The answer failed"),
        "interruptedTitle": _("The answer was interrupted"),
        "interruptedText": _(
            "The server stopped before the answer was complete. What was produced"
            " is kept."
        ),
        # what failed, where "The answer failed" would be the wrong word
        "failed.content_policy_violation": _("This message was not sent"),
        "failed.user_banned": _("This message was not sent"),
        "failed.moderation_unavailable": _("This message was not sent"),
        "messageTools": _("What can be done with this message"),
        "edit": _("Edit"),
        "editPrompt": _("Edit the message"),
        "cancel": _("Cancel"),
        "delete": _("Delete"),
        "deleted": _("Deleted, with all that followed."),
        "undo": _("Undo"),
        "previousVersion": _("Previous version"),
        "nextVersion": _("Next version"),
        "versionOf": _("Version {number} of {count}"),
        "regenerateWith": _("Regenerate with another model"),
        "goOn": _("Continue"),
        "goOnPrompt": _("Your answer broke off. Please go on exactly where it ended."),
        "rateUp": _("Good answer"),
        "rateDown": _("Bad answer"),
        "rateReason": _("What is good or bad about it? (if you like)"),
        "flag": _("Report to the moderators"),
        "flagReason": _("What should the moderators know? (if you like)"),
        "flagged": _("Reported to the moderators"),
        "measures": _("Tokens, speed and cost"),
        "sideBySide": _("Side by side"),
        "voteQuestion": _("Which answer is best?"),
        "stopAnswer": _("Stop {letter}"),
        "voteFor": _("{letter} is best"),
        "voteTie": _("Tie"),
        "voteBad": _("All bad"),
        "goOnWith": _("Continue with this"),
        "goesOnWith": _("Goes on with this"),
        "model": _("Model"),
        "removeModel": _("Remove this model"),
        "parameters": _("Parameters"),
        "temperature": _("Temperature"),
        "topP": _("Top p"),
        "maxTokens": _("Longest answer, in tokens"),
        "seed": _("Seed"),
        "contextTaken": _("{count} of {length} tokens"),
        "thinkingNow": _("Thinking…"),
        "thought": _("Thoughts"),
        "thoughtSeconds": _("Thought for {seconds} s"),
        "thoughtMinutes": _("Thought for {minutes} min"),
        # errors, by code
        "error.context_length_exceeded": _(
            "The conversation is longer than this model can read. Start a new chat,"
            " or pick a model with a larger context."
        ),
        "error.no_worker_available": _(
            "No worker serves this model right now. Try again in a moment, or pick"
            " another model."
        ),
        "error.queue_full": _(
            "All workers of this model are busy, and too many already wait for them."
            " Try again a little later, or pick another model."
        ),
        "error.queue_share_full": _(
            "Too many of your requests are waiting already. Let one of them end first."
        ),
        "error.queue_timeout": _(
            "All workers of this model stayed busy for too long. Try again, or pick"
            " another model."
        ),
        "error.model_not_found": _(
            "This model does not exist, or you may not use it. Pick another one."
        ),
        "error.rate_limit_exceeded": _(
            "Too many requests at once, or within a minute. The line below says when"
            " to try again."
        ),
        "error.insufficient_quota": _(
            "The budget for your requests is used up. The line below says when it"
            " begins anew."
        ),
        "error.content_policy_violation": _(
            "A rule of this site does not let this message be sent to a model. No model"
            " has seen it. You can change it and send it again; the rest of the"
            " conversation goes on as before."
        ),
        "error.user_banned": _(
            "You cannot ask models for now. The line below says why, and until when."
        ),
        "error.moderation_unavailable": _(
            "What has to look through messages before they are sent does not answer"
            " now. Try again in a moment."
        ),
        "error.upstream_error": _("The model's engine failed. Try again."),
        "error.upstream_timeout": _("The model's engine did not answer in time."),
        "error.shutting_down": _("The server is being restarted. Try again."),
        "error.internal_error": _("The server failed. Its log has the reason."),
        "error.not_found": _("There is no such conversation."),
        "error.prompt_too_long": _("The message is too long."),
        "error.attachment_refused": _("One of the attachments cannot be sent."),
        "error.empty_prompt": _("The message is empty."),
        "error.remark_too_long": _("The remark is too long."),
        "error.nothing_to_continue": _(
            "This answer is whole, or the conversation has gone on."
        ),
        "error.answer_in_progress": _(
            "Wait for the answer in progress, or stop it first."
        ),
        "error.too_many_generations": _(
            "Too many of your answers are being written. Stop one first."
        ),
        "error.too_many_questions": _(
            "You ask faster than this site lets anybody. Wait a little, then ask again."
        ),
    }
