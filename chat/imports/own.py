"""Our own export (`chat.exports.json_fields`)."""

from typing import Any

from chat.imports.shapes import (
    ROLES,
    ReadConversation,
    ReadMessage,
    dicts_in,
    key_of,
    moment_of,
    text_of,
)

SOURCE = "switchyard"


def is_ours(exported: dict[str, Any]) -> bool:
    return "messages" in exported and "leaf" in exported


def read(exported: dict[str, Any]) -> ReadConversation:
    conversation = ReadConversation(
        key=f"{SOURCE}:{key_of(exported.get('id')) or ''}",
        title=text_of(exported.get("title")),
        messages={},
        leaf=key_of(exported.get("leaf")),
        model=text_of(exported.get("model")),
        created_at=moment_of(exported.get("created_at")),
        updated_at=moment_of(exported.get("updated_at")),
        folder=text_of(exported.get("folder")) or None,
    )
    for each in dicts_in(exported.get("messages")):
        if (key := key_of(each.get("id"))) and each.get("role") in ROLES:
            conversation.messages[key] = ReadMessage(
                key=key,
                parent=key_of(each.get("parent")),
                role=each["role"],
                content=text_of(each.get("content")),
                model=text_of(each.get("model")),
                reasoning=text_of(each.get("reasoning")),
                created_at=moment_of(each.get("created_at")),
            )
    return conversation
