"""`python -m tests.mock_engine`: one mock engine in the foreground."""

import argparse
import contextlib

import msgspec

from tests.mock_engine.behaviour import MockEngineConfig, flag_of
from tests.mock_engine.connection import serve

try:
    from uvloop import run
except ImportError:  # as fast as asyncio is, then
    from asyncio import run  # type: ignore[assignment]


def parse_flags(argv: list[str] | None = None) -> tuple[MockEngineConfig, bool]:
    """Return the configuration, and whether to end when stdin is closed."""
    parser = argparse.ArgumentParser(prog="tests.mock_engine", description=__doc__)
    for field in msgspec.structs.fields(MockEngineConfig):
        flag = flag_of(field.name)
        if field.type is bool:
            parser.add_argument(flag, action="store_true", default=None)
        elif isinstance(field.default, tuple):
            parser.add_argument(flag, action="append", dest=field.name)
        else:
            parser.add_argument(flag, dest=field.name)
    parser.add_argument("--until-stdin-closes", action="store_true")
    flags = vars(parser.parse_args(argv))
    until_stdin_closes = flags.pop("until_stdin_closes")
    return MockEngineConfig.from_flags(flags), until_stdin_closes


if __name__ == "__main__":
    config, until_stdin_closes = parse_flags()
    with contextlib.suppress(KeyboardInterrupt):
        run(serve(config, until_stdin_closes=until_stdin_closes))
