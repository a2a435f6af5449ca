"""What `manage.py run` shows: every process's lines under its name, then the way in."""

import sys

from controller.bootstrap import Credentials, credentials_file
from controller.standalone.place import MODEL, Place

OURS = "switchyard"
NAME_WIDTH = len(OURS)
COLOURS = {OURS: 1, "web": 36, "tasks": 33, "model": 35, "worker": 32}


def show(name: str, line: str) -> None:
    """Write one line with the name of the process that wrote it in front."""
    label = f"{name:>{NAME_WIDTH}} |"
    if sys.stdout.isatty():
        label = f"\x1b[{COLOURS.get(name, 0)}m{label}\x1b[0m"
    sys.stdout.write(f"{label} {line}\n")
    sys.stdout.flush()


def show_welcome(place: Place, credentials: Credentials | None) -> None:
    """Write addresses, credentials and what to paste. One query."""
    lines = _known(credentials) if credentials else _lost(place)
    rule = "=" * 76
    sys.stdout.write("\n".join(["", rule, *lines, rule, "", ""]))
    sys.stdout.flush()


def _known(credentials: Credentials) -> list[str]:
    is_current = credentials.is_password_current
    shown = credentials.password if is_current else "(changed since the first start)"
    return f"""\
  Switchyard is ready: {credentials.model}

  Chat      {credentials.chat_url}
  Admin     {credentials.admin_url}
  API       {credentials.api_base}

  Username  {credentials.username}
  Password  {shown}
  API key   {credentials.api_key}

  The same, for scripts: {credentials_file()}

  curl {credentials.api_base}/chat/completions \\
    -H 'Authorization: Bearer {credentials.api_key}' \\
    -H 'Content-Type: application/json' \\
    -d '{{"model": "{credentials.model}",
         "messages": [{{"role": "user", "content": "Hello!"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{credentials.api_base}",
                  api_key="{credentials.api_key}")
  answer = client.chat.completions.create(
      model="{credentials.model}",
      messages=[{{"role": "user", "content": "Hello!"}}])
  print(answer.choices[0].message.content)

  Ctrl-C stops everything.""".splitlines()


def _lost(place: Place) -> list[str]:
    addresses = place.addresses.fields()
    return [
        f"  Switchyard is ready: {MODEL}",
        "",
        f"  Chat      {addresses['chat_url']}",
        f"  Admin     {addresses['admin_url']}",
        f"  API       {addresses['api_base']}",
        "",
        *(f"  {line}" for line in lost_credentials()),
    ]


def lost_credentials() -> list[str]:
    """What to do when the file is gone: secrets are stored as digests only."""
    return [
        f"{credentials_file()} is gone, and passwords and keys cannot be read back.",
        "`.venv/bin/python manage.py bootstrap --renew` makes new ones for the first",
        "operator; `manage.py changepassword NAME` sets a password alone.",
    ]
