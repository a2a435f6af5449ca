"""`switchyard-chat`: the command line, and what its exit status says.

0: all went well; 1: something could not be done, told on standard error; 2: the command
line is wrong; 130: stopped with Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from chat.terminal import throughput
from chat.terminal.api import Api
from chat.terminal.errors import BadSetting, TerminalError
from chat.terminal.flags import add_place_flags, seconds
from chat.terminal.places import find_place
from chat.terminal.prompts import history_file, piped, typed
from chat.terminal.screens import MarkdownScreen, PlainScreen, Screen
from chat.terminal.session import Session
from chat.terminal.talks import Talk, load

STOPPED = 130
DESCRIPTION = """\
Chat with a model in the terminal, over any OpenAI-compatible API. Without a terminal,
each line of standard input is a message or a command. `%(prog)s throughput --help`
measures how fast a model answers."""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given[:1] == ["throughput"]:
            return throughput.main(given[1:])
        return chat(_parser().parse_args(given))
    except TerminalError as exc:
        PlainScreen().note(f"switchyard-chat: {exc}")
        return 1
    except UnicodeError as exc:
        PlainScreen().note(f"switchyard-chat: what goes in and out is UTF-8: {exc}")
        return 1
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:
        # Who read our output has gone, as `head` does. Python flushes it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="switchyard-chat", description=DESCRIPTION, allow_abbrev=False
    )
    add_place_flags(parser)
    parser.add_argument("--model", help="default: the first that is served")
    parser.add_argument("--system", default="", help="the system prompt")
    parser.add_argument(
        "--message", help="ask this one message and end; -: all of standard input"
    )
    parser.add_argument(
        "--load", type=Path, metavar="FILE", help="go on with a conversation"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=600,
        help="seconds of silence until an answer is given up (default: %(default)s)",
    )
    parser.add_argument(
        "--plain", action="store_true", help="show answers as they are, no Markdown"
    )
    parser.add_argument(
        "--no-history", action="store_true", help="remember nothing of what is typed"
    )
    return parser


def chat(flags: argparse.Namespace) -> int:
    place = find_place(flags.api_base, flags.api_key_file)
    is_for_people = sys.stdin.isatty() and sys.stdout.isatty() and flags.message is None
    screen: Screen = PlainScreen()
    if is_for_people and not flags.plain:
        screen = MarkdownScreen()
    with closing(Api(place, flags.timeout)) as api:
        session = Session(api, _talk(api, flags), screen)
        if flags.message is not None:
            session.ask(sys.stdin.read() if flags.message == "-" else flags.message)
        elif is_for_people:
            screen.note(f"{session.talk.model} at {place.base}. /help lists commands.")
            session.recall()
            remembered = None if flags.no_history else history_file()
            _converse(session, typed(session.commands, remembered), screen)
        else:
            _follow(session, piped(sys.stdin))
    return STOPPED if session.was_stopped and not is_for_people else 0


def _talk(api: Api, flags: argparse.Namespace) -> Talk:
    talk = load(flags.load) if flags.load else Talk()
    talk.system = flags.system or talk.system
    talk.model = flags.model or talk.model or _first_model(api)
    return talk


def _first_model(api: Api) -> str:
    for model in api.models():
        if model.can_chat:
            return model.id
    raise BadSetting(
        f"{api.place.base} serves no model that chats now: start a worker, or name a"
        " model with --model."
    )


def _converse(session: Session, lines: Iterator[str], screen: Screen) -> None:
    """What a person does wrong is told, and the conversation goes on."""
    for line in lines:
        try:
            session.take(line)
        except TerminalError as exc:
            screen.note(str(exc))
        except KeyboardInterrupt:
            screen.note("Stopped.")
        if session.has_ended:
            return


def _follow(session: Session, lines: Iterator[str]) -> None:
    """A script ends at its first failure: what follows was written for its success."""
    for line in lines:
        session.take(line)
        if session.has_ended or session.was_stopped:
            return
