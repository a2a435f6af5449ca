"""Open WebUI's export of chats: a list of its rows.

    {"id", "title", "created_at", "updated_at", "chat": {"title", "models", "history":
     {"currentId", "messages": {id: {"id", "parentId", "role", "content", "model",
     "timestamp", "files"}}}}}

Old ones hold `chat.messages` instead of a history: a list without branches.
"""

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

SOURCE = "open-webui"


def is_open_webuis(exported: dict[str, Any]) -> bool:
    return isinstance(exported.get("chat"), dict)


def read(exported: dict[str, Any]) -> ReadConversation:
    chat = exported["chat"]
    history = chat.get("history")
    history = history if isinstance(history, dict) else {}
    models = chat.get("models")
    conversation = ReadConversation(
        key=f"{SOURCE}:{key_of(exported.get('id')) or key_of(chat.get('id')) or ''}",
        title=text_of(exported.get("title")) or text_of(chat.get("title")),
        messages={},
        leaf=key_of(history.get("currentId")),
        model=text_of(models[0]) if isinstance(models, list) and models else "",
        created_at=moment_of(exported.get("created_at") or chat.get("timestamp")),
        updated_at=moment_of(exported.get("updated_at")),
    )
    tree = history.get("messages")
    if isinstance(tree, dict) and tree:
        _read_tree(conversation, tree)
    else:
        _read_list(conversation, chat.get("messages"))
    return conversation


def _read_tree(conversation: ReadConversation, tree: dict[str, Any]) -> None:
    for key, each in tree.items():
        if isinstance(each, dict) and (known := key_of(key)):
            parent = key_of(each.get("parentId"))
            conversation.messages[known] = _message(conversation, known, parent, each)


def _read_list(conversation: ReadConversation, listed: Any) -> None:
    parent = None
    for number, each in enumerate(dicts_in(listed)):
        key = key_of(each.get("id")) or f"#{number}"
        conversation.messages[key] = _message(conversation, key, parent, each)
        parent = key


def _message(
    conversation: ReadConversation,
    key: str,
    parent: str | None,
    exported: dict[str, Any],
) -> ReadMessage:
    role = exported.get("role")
    content = exported.get("content")
    if isinstance(content, list):  # OpenAI's parts
        texts = [text_of(each.get("text")) for each in dicts_in(content)]
        conversation.num_left_out += texts.count("")
        text = "\n\n".join(filter(None, texts))
    else:
        text = text_of(content)
    files = exported.get("files")
    conversation.num_left_out += len(files) if isinstance(files, list) else 0
    return ReadMessage(
        key=key,
        parent=parent,
        role=role if role in ROLES else "system",
        content=text if role in ROLES else "",
        model=text_of(exported.get("model")),
        created_at=moment_of(exported.get("timestamp")),
    )
