"""What the chat persists: conversations, what goes with their prompts, comparisons, the
index of search and shared links."""

from chat.composing.models import Attachment, ConversationSetup, Preset, SavedPrompt
from chat.models.comparisons import Comparison
from chat.models.conversations import Conversation, Folder, Message
from chat.models.search import SearchEntry
from chat.models.sharing import SharedLink

__all__ = [
    "Attachment",
    "Comparison",
    "Conversation",
    "ConversationSetup",
    "Folder",
    "Message",
    "Preset",
    "SavedPrompt",
    "SearchEntry",
    "SharedLink",
]
