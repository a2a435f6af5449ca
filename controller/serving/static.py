"""Static files on the wire: each is compressed once, when it is first asked for."""

import asyncio
import gzip
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from servestatic.middleware import ServeStaticMiddleware
from servestatic.responders import StaticFile

# The others, such as fonts and pictures, are compressed in themselves.
COMPRESSIBLE = {".css", ".html", ".js", ".json", ".mjs", ".svg", ".txt", ".xml"}
SMALLEST = 512


class CompressedStaticMiddleware(ServeStaticMiddleware):  # type: ignore[misc]  # untyped
    """Serves files from where the apps keep them. Those that compress are kept
    compressed in VAR_DIR, under a name that changes with the file: nothing has to be
    collected."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plain = {
            url: Path(file.alternatives[-1][1])
            for url, file in self.files.items()
            if isinstance(file, StaticFile) and Path(url).suffix in COMPRESSIBLE
        }

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if plain := self._plain.pop(request.path_info, None):
            await asyncio.to_thread(self._compress, request.path_info, plain)
        response: HttpResponseBase = await super().__call__(request)
        return response

    def _compress(self, url: str, plain: Path) -> None:
        status = plain.stat()
        if status.st_size < SMALLEST:
            return
        path, headers = str(plain), self._headers_of(url)
        encodings = {"gzip": str(compressed(plain, status))}
        self.files[url] = StaticFile(path, headers, encodings=encodings)

    def _headers_of(self, url: str) -> list[tuple[str, str]]:
        """What the file is served with, less what depends on its form."""
        _, _, headers = self.files[url].alternatives[-1]
        ours = {"Content-Type", "Cache-Control", "Access-Control-Allow-Origin"}
        return [(name, value) for name, value in headers if name in ours]


def compressed(plain: Path, status: os.stat_result) -> Path:
    """The file's compressed form, made if it is not there."""
    folder = settings.VAR_DIR / "static"
    version = f"{plain}\n{status.st_mtime_ns}\n{status.st_size}"
    path: Path = folder / f"{hashlib.sha256(version.encode()).hexdigest()[:32]}.gz"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        # Another process may be at it too: each writes its own and puts it in place.
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as written:
            written.write(gzip.compress(plain.read_bytes(), 9, mtime=0))
        os.replace(written.name, path)
    return path
