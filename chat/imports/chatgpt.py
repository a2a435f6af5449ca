"""ChatGPT's export: `conversations.json`, a list of trees of nodes.

    {"id", "title", "create_time", "update_time", "current_node",
     "mapping": {id: {"id", "parent", "children", "message": {"author": {"role"},
     "content": {"content_type", "parts"}, "create_time", "metadata": {"model_slug"}}}}}

The root's message is null. Parts are texts, or objects for images and sound. Tools'
calls and answers, and hidden system messages, are nodes like any other.
"""

from typing import Any

from chat.imports.shapes import (
    ReadConversation,
    ReadMessage,
    key_of,
    moment_of,
    text_of,
)

SOURCE = "chatgpt"
ROLES = {"user", "assistant"}
TEXTS = {"text", "multimodal_text"}


def is_chatgpts(exported: dict[str, Any]) -> bool:
    return isinstance(exported.get("mapping"), dict)


def read(exported: dict[str, Any]) -> ReadConversation:
    conversation = ReadConversation(
        key=f"{SOURCE}:{_id_of(exported)}",
        title=text_of(exported.get("title")),
        messages={},
        leaf=key_of(exported.get("current_node")),
        model=text_of(exported.get("default_model_slug")),
        created_at=moment_of(exported.get("create_time")),
        updated_at=moment_of(exported.get("update_time")),
    )
    for key, node in exported["mapping"].items():
        if isinstance(node, dict) and (known := key_of(key)):
            conversation.messages[known] = _message(conversation, known, node)
    return conversation


def _id_of(exported: dict[str, Any]) -> str:
    return key_of(exported.get("conversation_id")) or key_of(exported.get("id")) or ""


def _message(
    conversation: ReadConversation, key: str, node: dict[str, Any]
) -> ReadMessage:
    message = _dict(node.get("message"))
    role = _dict(message.get("author")).get("role")
    content = _dict(message.get("content"))
    # "all" is everybody: an answer's call of a tool names the tool.
    is_said = message.get("recipient", "all") == "all"
    text = ""
    if role in ROLES and content.get("content_type") in TEXTS and is_said:
        parts = content.get("parts")
        parts = parts if isinstance(parts, list) else []
        texts = [text_of(part) for part in parts]
        text = "\n\n".join(filter(None, texts))
        conversation.num_left_out += sum(not isinstance(each, str) for each in parts)
    elif role in {"tool", "assistant"}:
        conversation.num_left_out += 1
    return ReadMessage(
        key=key,
        parent=key_of(node.get("parent")),
        role=role if role in ROLES else "system",
        content=text,
        model=text_of(_dict(message.get("metadata")).get("model_slug")),
        created_at=moment_of(message.get("create_time")),
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
