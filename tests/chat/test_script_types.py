"""The types by which the chat's scripts are checked are those of the websocket."""

import re
from typing import get_args

from chat import protocol
from deploy.frontend import FRONTEND

TYPES = (FRONTEND / "types" / "protocol.d.ts").read_text()


def test_every_event_of_the_server_has_a_type():
    [events] = re.findall(r"interface Events \{(.*?)\n\}", TYPES, re.DOTALL)
    typed = set(re.findall(r"^  (\w+):", events, re.MULTILINE))

    documented = set(re.findall(r"^- `(\w+)` \{", protocol.__doc__, re.MULTILINE))

    assert typed == documented - {"pong"}  # which the socket keeps to itself
    assert "delta" in typed


def test_every_message_that_the_server_takes_has_a_type():
    told = re.findall(r'\{ type: ((?:"\w+"(?: \| )?)+)', TYPES)
    typed = {tag for tags in told for tag in re.findall(r'"(\w+)"', tags)}

    taken = {each.__struct_config__.tag for each in get_args(protocol.AnyMessage)}

    assert typed == taken
