"""Where the product listens on this machine, and that nobody else does."""

import contextlib
import errno
import fcntl
import socket
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from config import env
from controller.bootstrap import Addresses

MODEL = "smollm2-135m-instruct"
ENGINES = ("transformers", "vllm")
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # names, not a bind
REMEDIES = {
    errno.EADDRINUSE: "PORT={} make run takes another port",
    errno.EACCES: "ports below 1024 need root, PORT=8000 does not",
}


class CannotRun(Exception):
    """Its text says what stands in the way and what to do."""


@dataclass(frozen=True)
class Place:
    """Where the web process listens, and with which engine the model is served."""

    host: str
    port: int
    engine: str = "transformers"

    @property
    def local_host(self) -> str:
        """The address by which this machine reaches its own web process."""
        return WILDCARDS.get(self.host, self.host)

    @property
    def local_url(self) -> str:
        host = f"[{self.local_host}]" if ":" in self.local_host else self.local_host
        return f"http://{host}:{self.port}"

    @property
    def addresses(self) -> Addresses:
        origin = settings.PUBLIC_URL or self.local_url
        return Addresses(f"{origin}{settings.ROOT_PATH}", MODEL)


def add_address_arguments(parser: ArgumentParser) -> None:
    """`--host` and `--port`, by default HOST and PORT of the environment."""
    parser.add_argument("--host", default=env.text("HOST", "127.0.0.1"))
    # As text, so that a bad PORT is refused like a bad --port: in one line.
    parser.add_argument("--port", type=_port, default=env.text("PORT", "8000"))


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise ArgumentTypeError(f"{text!r} is not a port: write one of 1 to 65535")
    return int(text)


def engine(text: str) -> str:
    """The name of an engine, for argparse."""
    if text not in ENGINES:
        raise ArgumentTypeError(f"{text!r} is not one of {', '.join(ENGINES)}")
    return text


@contextlib.contextmanager
def only_one(place: Place) -> Iterator[None]:
    """Hold VAR_DIR's lock and know the port to be free. Raises `CannotRun` if not."""
    path = Path(settings.VAR_DIR) / "run.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise CannotRun(
                f"{settings.VAR_DIR} is in use by another `make run`: stop that one, or"
                " set VAR_DIR to another folder."
            ) from exc
        require_plain_http()
        require_free_port(place)
        yield


def require_plain_http() -> None:
    if env.text("SSL_CERTFILE"):
        raise CannotRun(
            "SSL_CERTFILE is set, and `make run` speaks plain HTTP to itself: unset it,"
            " or start `manage.py serve` and the workers by themselves."
        )


def require_free_port(place: Place) -> None:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((place.host, place.port))
        except OSError as exc:
            remedy = REMEDIES.get(exc.errno or 0, "set HOST to an address that is here")
            raise CannotRun(
                f"Cannot listen on {place.host}:{place.port} ({exc.strerror}):"
                f" {remedy.format(place.port + 1)}."
            ) from exc
