"""A KV cache that grows in place: a decoding step writes one token and moves none."""

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM_TOKENS = 64


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # no types in transformers
    """A layer that keeps room for the tokens to come.

    `keys` and `values` are views of the rooms' beginnings. Whoever puts other tensors
    in their place, as a merge of batches does, makes new rooms at the next update.
    """

    def __init__(self) -> None:
        super().__init__()
        self._key_room: torch.Tensor | None = None
        self._value_room: torch.Tensor | None = None

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new tokens' states; return the states of all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[..., :0, :], value_states[..., :0, :]
        self.keys, self._key_room = _appended(self.keys, key_states, self._key_room)
        self.values, self._value_room = _appended(
            self.values, value_states, self._value_room
        )
        return self.keys, self.values

    def move_to(
        self, key_room: torch.Tensor, value_room: torch.Tensor, width: int
    ) -> None:
        """Hold what the first `width` tokens of these rooms say, and go on there."""
        self._key_room, self._value_room = key_room, value_room
        self.keys = key_room[..., :width, :]
        self.values = value_room[..., :width, :]


class RoomyCache(DynamicCache):  # type: ignore[misc]  # no types in transformers
    """A cache of roomy layers, made as the model first needs them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_class_to_replicate = RoomyLayer

    def merge(self, other: "RoomyCache", width: int) -> None:
        """Take the rows of `other`, both padded on the left to `width` tokens.

        If the memory for that is not there, the cache is as it was before.
        """
        rooms = [
            (
                _merged(ours.keys, theirs.keys, width),
                _merged(ours.values, theirs.values, width),
            )
            for ours, theirs in zip(self.layers, other.layers, strict=True)
        ]
        for layer, (key_room, value_room) in zip(self.layers, rooms, strict=True):
            layer.move_to(key_room, value_room, width)

    def select(self, rows: list[int], num_idle: int) -> None:
        """Keep `rows` alone, without the first `num_idle` tokens: all padding."""
        for layer in self.layers:
            layer.keys = layer.keys[rows, :, num_idle:]
            layer.values = layer.values[rows, :, num_idle:]

    def narrow_to(self, width: int) -> None:
        """Take back what a failed pass has already put into some layers."""
        for layer in self.layers:
            layer.keys = layer.keys[..., :width, :]
            layer.values = layer.values[..., :width, :]


def _appended(
    past: torch.Tensor, new: torch.Tensor, room: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `past` and `new` in one, and the room that they lie in."""
    start, end = past.shape[-2], past.shape[-2] + new.shape[-2]
    if room is None or not _lies_in(past, room) or end > room.shape[-2]:
        room = new.new_empty((*new.shape[:-2], end + ROOM_TOKENS, new.shape[-1]))
        room[..., :start, :] = past
    room[..., start:end, :] = new
    return room[..., :end, :], room


def _lies_in(past: torch.Tensor, room: torch.Tensor) -> bool:
    is_there = past.data_ptr() == room.data_ptr() and past.stride() == room.stride()
    return bool(is_there and past.shape[:-2] == room.shape[:-2])


def _merged(first: torch.Tensor, second: torch.Tensor, width: int) -> torch.Tensor:
    """Return a room with the rows of both, which end at its token `width`."""
    num_rows, num_heads, size = len(first), first.shape[1], first.shape[-1]
    shape = (num_rows + len(second), num_heads, width + ROOM_TOKENS, size)
    room = first.new_empty(shape)
    for rows, part in ((room[:num_rows], first), (room[num_rows:], second)):
        start = width - part.shape[-2]
        rows[..., :start, :] = 0  # what lay in memory here might be NaN
        rows[..., start:width, :] = part
    return room
