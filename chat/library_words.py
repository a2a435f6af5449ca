"""The words of the sidebar's script, in the reader's language."""

from django.utils.translation import gettext as _
from django.utils.translation import pgettext


def library_words() -> dict[str, str]:
    """By the key that the script knows; `{name}` is filled in there."""
    return {
        "pinned": _("Pinned"),
        "today": _("Today"),
        "yesterday": _("Yesterday"),
        "week": _("Previous 7 days"),
        "older": _("Older"),
        "options": _("Options of “{title}”"),
        "rename": _("Rename"),
        "newTitle": _("New title"),
        "pin": _("Pin"),
        "unpin": _("Unpin"),
        "move": _("Move to a folder…"),
        "share": _("Share…"),
        "exportMarkdown": _("Export as Markdown"),
        "exportJson": _("Export as JSON"),
        "archive": pgettext("verb", "Archive"),
        "unarchive": _("List again"),
        "delete": _("Delete"),
        "deleted": _("“{title}” is deleted."),
        "archived": _("“{title}” is in the archive."),
        "undo": _("Undo"),
        "emptyFolder": _("Nothing is in this folder."),
        "renameFolder": _("Rename the folder"),
        "deleteFolder": _("Delete the folder"),
        "folderDeleted": _("The folder is deleted; what was in it is listed by day."),
        "folder": _("Folder"),
        "noFolder": _("No folder"),
        "newFolder": _("New folder…"),
        "folderName": _("Name of the new folder"),
        "moveTitle": _("Move “{title}”"),
        "moveAction": _("Move"),
        "cancel": _("Cancel"),
        "close": _("Close"),
        "searching": _("Searching…"),
        "found": _("Found: {count}"),
        "foundMore": _("Found: {count} and more"),
        "nothingFound": _("Nothing holds these words."),
        "inTitle": _("Title"),
        "inQuestion": _("You"),
        "inAnswer": _("Answer"),
        "shareTitle": _("Share “{title}”"),
        "shareLead": _(
            "Anybody who has the link reads the conversation, without an account."
        ),
        "snapshot": _("As it is now"),
        "live": _("As it goes on"),
        "what": _("What it shows"),
        "expiry": _("How long it works"),
        "day": _("1 day"),
        "sevenDays": _("7 days"),
        "month": _("30 days"),
        "forever": _("Until I revoke it"),
        "showName": _("Show my name"),
        "makeLink": _("Make the link"),
        "copyLink": _("Copy the link"),
        "linkOnce": _("Copy it now: it is not shown again."),
        "openLinks": _("Links that work now"),
        "revoke": _("Revoke"),
        "until": _("until {date}"),
        "readers": _("Who can read this?"),
        "readersTitle": _("Who can read this conversation?"),
        "readersWho": _("People"),
        "readersYou": _("You."),
        "readersLinks": _("Anybody who has one of its open links: {count}."),
        "readersNoLinks": _("Nobody else by a link: none is open."),
        "readersStaff": _(
            "Staff who may read what people write: {count}. They see what a rule or a"
            " reader flagged and, while they try a rule, recent messages in which it"
            " finds something."
        ),
        "readersNoStaff": _(
            "No staff: nobody of this site has the right to read what people write."
        ),
        "readersFlags": _(
            "Excerpts of it that moderation keeps: {count}, for {days} days each,"
            " also when it is deleted."
        ),
        "readersHost": _(
            "Who runs this site’s server: messages are in its database as they were"
            " written."
        ),
        "readersSent": _("Where it was sent"),
        "sentHere": _("To models on workers of this site: {names}."),
        "sentElsewhere": _(
            "To providers outside this site, by the models {names}. What they keep is"
            " up to them."
        ),
        "sentClassifiers": _(
            "To what looks for breaches of this site’s rules, as far as they ask for"
            " it: {names}."
        ),
        "sentNowhere": _("To no model yet."),
        "readersEnd": _("When it goes"),
        "goesAt": _("On {date}, unless you go on with it before."),
        "goesNever": _("When you delete it: this site keeps conversations for ever."),
        "goesUndo": _(
            "What you delete can be brought back for {hours} hours; then it is gone."
        ),
        "goesAtOnce": _("What you delete cannot be brought back."),
        "notReached": _("The server was not reached. Try again in a moment."),
        "refused": _("That did not work. Reload the page and try again."),
        "error.blank_name": _("A name needs at least one character."),
        "error.folder_exists": _("There is a folder of this name already."),
        "error.too_many_folders": _("There are too many folders. Delete one first."),
        "error.too_many_links": _("Too many links are open. Revoke one first."),
        "error.sharing_off": _("Sharing by link is switched off on this site."),
        "error.signed_out": _("You are signed out. Reload the page to sign in."),
    }
