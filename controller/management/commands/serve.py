"""`python manage.py serve`: one or several web processes."""

import os
import socket
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config import env
from controller.management.first_rows import add_first_rows, write_first_rows
from controller.management.migrated import expect_tables
from controller.management.share import add_share, write_share
from controller.serving.options import ServeOptions


class Command(BaseCommand):
    help = "Serve the admin, the chat site and the API."
    # They load the URLs, which depend on the flags: made in `handle`.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument(
            "--roles",
            default=",".join(settings.SERVED_ROLES),
            help=f"which faces to answer, of {', '.join(settings.ROLES)}",
        )
        parser.add_argument(
            "--server",
            choices=("uvicorn", "daphne"),
            default="uvicorn",
            help="uvicorn costs about half of daphne per request",
        )
        parser.add_argument("--workers", type=int, default=1, help="web processes")
        parser.add_argument("--ssl-certfile", default=env.text("SSL_CERTFILE"))
        parser.add_argument("--ssl-keyfile", default=env.text("SSL_KEYFILE"))
        parser.add_argument("--root-path", default=settings.ROOT_PATH)
        parser.add_argument(
            "--open",
            action="store_true",
            default=settings.OPEN_TO_GUESTS,
            help="on loopback: callers without a right key are one limited guest",
        )
        parser.add_argument("--fd", type=int, help="an inherited listening socket")
        add_share(parser)
        add_first_rows(parser)

    def handle(self, **flags: Any) -> None:
        options = ServeOptions(
            host=flags["host"],
            port=flags["port"],
            server=flags["server"],
            ssl_certfile=flags["ssl_certfile"],
            ssl_keyfile=flags["ssl_keyfile"],
            fd=flags["fd"],
        )
        check(options, flags)
        apply_to_settings(flags)
        self.check()
        if options.fd is None:  # of several processes the first one, alone
            expect_tables()
            write_first_rows(flags, self._say)
            write_share(flags, options, self._say)
        listener = None if needs_own_endpoint(options) else listen(options)
        if flags["workers"] > 1 and options.fd is None:
            from controller.serving.processes import WebProcesses

            assert listener is not None
            WebProcesses(flags["workers"], passed_on(options, flags)).run(listener)
            return
        serve(options, listener)

    def _say(self, line: str) -> None:
        """Also where it is read through a pipe, which would keep it until the end."""
        self.stdout.write(line)
        self.stdout.flush()


def check(options: ServeOptions, flags: dict[str, Any]) -> None:
    """Raise `CommandError` for combinations that would be unsafe or not work."""
    roles = [role.strip() for role in flags["roles"].split(",")]
    if unknown := sorted(set(roles) - set(settings.ROLES)):
        raise CommandError(
            f"--roles: {', '.join(unknown)} unknown; there are"
            f" {', '.join(settings.ROLES)}."
        )
    if bool(options.ssl_certfile) != bool(options.ssl_keyfile):
        raise CommandError("--ssl-certfile and --ssl-keyfile go together.")
    if flags["open"] and not options.is_loopback:
        raise CommandError(
            f"--open gives models to everybody who reaches --host {options.host}:"
            " it is for loopback only. Leave it out, and give out API keys."
        )
    if flags["workers"] > 1 and not settings.REDIS_URL and options.fd is None:
        raise CommandError(
            "--workers above 1 needs REDIS_URL: web processes share their state there."
        )
    if flags["workers"] > 1 and needs_own_endpoint(options):
        raise CommandError(
            "daphne with TLS has one process; use uvicorn, or TLS in a proxy."
        )


def apply_to_settings(flags: dict[str, Any]) -> None:
    """The flags as settings, before URLs and the application are loaded."""
    settings.SERVED_ROLES = [role.strip() for role in flags["roles"].split(",")]
    settings.OPEN_TO_GUESTS = flags["open"]
    root_path = flags["root_path"].strip("/")
    settings.ROOT_PATH = f"/{root_path}" if root_path else ""
    if settings.ROOT_PATH:
        settings.FORCE_SCRIPT_NAME = settings.ROOT_PATH
        settings.STATIC_URL = f"{settings.ROOT_PATH}/static/"


def needs_own_endpoint(options: ServeOptions) -> bool:
    return options.server == "daphne" and bool(options.ssl_certfile)


def passed_on(options: ServeOptions, flags: dict[str, Any]) -> list[str]:
    """The flags for each of several processes."""
    passed = [
        f"--{name}={flags[name.replace('-', '_')]}"
        for name in ("host", "port", "roles", "server", "root-path")
    ]
    if options.ssl_certfile:
        passed += [
            f"--ssl-certfile={options.ssl_certfile}",
            f"--ssl-keyfile={options.ssl_keyfile}",
        ]
    return [*passed, "--open"] if flags["open"] else passed


def listen(options: ServeOptions) -> socket.socket:
    """The listening socket, inherited or new."""
    if options.fd is not None:
        return socket.socket(fileno=options.fd)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener = socket.create_server(
            (options.host, options.port), family=family, backlog=2048
        )
    except OSError as exc:
        raise CommandError(
            f"Cannot listen on {options.host}:{options.port}: {os.strerror(exc.errno)}."
            " Choose another by --port, or end what listens there."
            if exc.errno
            else f"--host {options.host} is no address of this machine."
        ) from exc
    listener.set_inheritable(True)
    return listener


def serve(options: ServeOptions, listener: socket.socket | None) -> None:
    # Imported here: they load the URLs, which depend on the flags.
    from config.asgi import application, lifespan

    if options.server == "daphne":
        from controller.serving import daphne_server

        daphne_server.serve(application, lifespan, options, listener)
    else:
        from controller.serving import uvicorn_server

        assert listener is not None
        uvicorn_server.serve(application, options, listener)
