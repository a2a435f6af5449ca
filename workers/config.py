"""A worker's settings: one frozen dataclass, built from flags and environment."""

import argparse
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from workers.addresses import check_port, with_scheme
from workers.errors import BadSetting
from workers.logs import FORMATS
from workers.protocol import MAX_WEIGHT, ModelName
from workers.tls import Certificate, authority

DEFAULT_CONTROLLER = "http://localhost:8000"
CREDENTIALS_FILE = Path("var/credentials.json")
DEFAULT_TOKEN_FILE = Path("var/join_token")
TOKEN_VARIABLE = "SWITCHYARD_JOIN_TOKEN"  # noqa: S105  (a name, not a token)
CONTROLLER_VARIABLE = "SWITCHYARD_CONTROLLER"


@dataclass(frozen=True)
class JoinTokenSource:
    """Where the join token comes from; asked anew at each try to join."""

    file: Path | None
    from_environment: str = ""

    def read(self) -> str | None:
        """Return the token as it reads by now, or None while there is none.

        It is the last word, so that all that `join_token` prints may be kept; a mark
        at the beginning, such as editors on Windows leave, does not count.
        """
        try:
            words = self._text().split()
        except OSError:
            return None
        return words[-1] if words and words[-1].isprintable() else None

    def why_unreadable(self) -> str:
        """Return why there is a file and yet no token; empty if that is not so."""
        try:
            self._text()
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"{self} cannot be read: {error.strerror}"
        return ""

    def _text(self) -> str:
        if self.file is None:
            return self.from_environment
        return self.file.read_text(encoding="utf-8-sig", errors="replace")

    def __str__(self) -> str:
        if self.file is None:
            return f"the environment variable {TOKEN_VARIABLE}"
        return f"the file {self.file}"


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What an operator may say about a worker, whichever engine it runs."""

    model_path: str
    names: tuple[str, ...]
    """The served name, then its aliases."""
    controller: str | None
    """The controller's address; None runs the engine without one."""
    worker_address: str | None = None
    host: str | None = None
    port: int | None = None
    token: JoinTokenSource = JoinTokenSource(None)
    state_dir: Path | None = None
    api_key_file: Path | None = None
    max_concurrency: int | None = None
    weight: float = 1.0
    labels: Mapping[str, str]
    exclusive: bool = False
    device: str | None = None
    dtype: str | None = None
    drain_seconds: float = 30.0
    hung_seconds: float = 120.0
    certificate: Certificate | None = None
    """What the engine's port serves TLS with; None: it speaks plain HTTP."""
    controller_ca: ssl.SSLContext | None = None
    agent_port: int | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.certificate else "http"

    @property
    def name(self) -> str:
        return self.names[0]


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every worker has; most bear FastChat's names."""
    add = parser.add_argument
    add("--model-path", "--model", required=True, help="folder or name of the model")
    add("--model-names", help="served name, then aliases, with commas between them")
    add("--host", help="address to bind to (default: as far as the controller needs)")
    add("--port", type=int, help="default: 21002, or the next free port")
    add("--worker-address", help="how the controller reaches the engine")
    add("--controller-address", help=f"default: {DEFAULT_CONTROLLER}")
    add("--no-register", action="store_true", help="run without a controller")
    add("--join-token-file", type=Path, help=f"default: {DEFAULT_TOKEN_FILE}")
    add("--api-key-file", type=Path, help="the engine's key, with --no-register")
    add("--state-dir", type=Path, help="default: a folder of var/workers")
    add("--limit-worker-concurrency", type=int, help="requests at once")
    add("--weight", type=float, default=1.0, help="share of the load (default: 1)")
    add("--labels", default="", help="key=value pairs with commas between them")
    add("--exclusive", action="store_true", help="no other worker may use these names")
    add("--device", help="cpu, cuda or mps (default: the best there is)")
    add("--dtype", help="precision of the weights (default: what the device does best)")
    add("--drain-seconds", type=float, default=30.0, help="patience when stopping")
    add("--hung-seconds", type=float, default=120.0, help="silence before a restart")
    add("--ssl-certfile", type=Path, help="certificate for the worker's own port")
    add("--ssl-keyfile", type=Path, help="its private key")
    add("--controller-ca", type=Path, help="authority of the controller's certificate")
    add("--agent-port", type=int, help="/healthz, /readyz and /metrics, on loopback")
    add("--log-format", choices=FORMATS, default="text", help="default: text")


def worker_config(
    arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> WorkerConfig:
    """Return the settings that the parsed flags and the environment amount to.

    Raises `BadSetting` or `BadAddress` for values that cannot be used.
    """
    if arguments.api_key_file and not arguments.no_register:
        raise BadSetting(
            "--api-key-file needs --no-register: a registered engine gets a new key"
            " at each start, which only the controller knows."
        )
    _check_numbers(arguments)
    _check_model_path(arguments.model_path)
    is_alone = arguments.no_register
    return WorkerConfig(
        model_path=arguments.model_path,
        names=model_names(arguments.model_names, arguments.model_path),
        controller=None
        if is_alone
        else controller_address(arguments.controller_address, environment),
        worker_address=arguments.worker_address,
        host=arguments.host,
        port=arguments.port,
        token=token_source(arguments.join_token_file, environment),
        state_dir=arguments.state_dir,
        api_key_file=arguments.api_key_file,
        max_concurrency=arguments.limit_worker_concurrency,
        weight=arguments.weight,
        labels=parse_labels(arguments.labels),
        exclusive=arguments.exclusive,
        device=arguments.device,
        dtype=arguments.dtype,
        drain_seconds=arguments.drain_seconds,
        hung_seconds=arguments.hung_seconds,
        certificate=_certificate(arguments.ssl_certfile, arguments.ssl_keyfile),
        controller_ca=arguments.controller_ca and authority(arguments.controller_ca),
        agent_port=arguments.agent_port,
    )


def _check_numbers(arguments: argparse.Namespace) -> None:
    """Raise `BadSetting` for those that would be found out once all is loaded."""
    check_port(arguments.port, "--port")
    check_port(arguments.agent_port, "--agent-port")
    for flag in ("limit_worker_concurrency", "weight", "hung_seconds"):
        value = getattr(arguments, flag)
        if value is not None and not value > 0:
            raise BadSetting(f"--{flag.replace('_', '-')} {value} must be above 0.")
    if arguments.weight > MAX_WEIGHT:
        raise BadSetting(
            f"--weight {arguments.weight} must not be above {MAX_WEIGHT:g}."
        )
    if not arguments.drain_seconds >= 0:
        raise BadSetting(
            f"--drain-seconds {arguments.drain_seconds} must not be below 0."
        )


def _check_model_path(path: str) -> None:
    """Raise `BadSetting` for what can be nothing but a path, and leads nowhere.

    Anything else may be a name on the model hub, which the engine knows.
    """
    if path.startswith(("/", "./", "../", "~")) and not Path(path).exists():
        raise BadSetting(f"--model-path {path}: there is no such file or folder here.")


def _certificate(certfile: Path | None, keyfile: Path | None) -> Certificate | None:
    if certfile is None and keyfile is None:
        return None
    if certfile is None or keyfile is None:
        raise BadSetting("--ssl-certfile and --ssl-keyfile go together.")
    certificate = Certificate(certfile.absolute(), keyfile.absolute())
    certificate.check()
    return certificate


def model_names(given: str | None, model_path: str) -> tuple[str, ...]:
    """Return the served name and its aliases, as `given` or by the path's last part.

    Raises `BadSetting` for one that no model can have.
    """
    text = given or Path(model_path.rstrip("/")).name
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        try:
            msgspec.convert(name, ModelName)
        except msgspec.ValidationError as error:
            raise BadSetting(
                f"--model-names: {name!r} cannot be a model's name ({error}); use"
                " letters, digits and . _ : / @ + - and begin with a letter or digit."
            ) from error
    return names


def controller_address(
    given: str | None, environment: Mapping[str, str] = os.environ
) -> str:
    """Return the controller's address: as given, or set, or as `make run` left it."""
    if given:
        return with_scheme(given)
    if environment.get(CONTROLLER_VARIABLE):
        return with_scheme(environment[CONTROLLER_VARIABLE])
    try:
        base_url = json.loads(CREDENTIALS_FILE.read_text())["base_url"]
    except (OSError, ValueError, KeyError, TypeError):
        return DEFAULT_CONTROLLER  # `make run` has not been used in this folder
    return with_scheme(str(base_url))


def token_source(
    file: Path | None, environment: Mapping[str, str] = os.environ
) -> JoinTokenSource:
    """Return where the join token is read: this file, the variable, or our default."""
    if file is None and environment.get(TOKEN_VARIABLE):
        return JoinTokenSource(None, environment[TOKEN_VARIABLE].strip())
    return JoinTokenSource(file or DEFAULT_TOKEN_FILE)


def parse_labels(text: str) -> dict[str, str]:
    """Return the labels of `key=value` pairs with commas between; or `BadSetting`."""
    labels = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise BadSetting(f"--labels: {pair!r} is not of the form key=value.")
        labels[key.strip()] = value.strip()
    return labels
