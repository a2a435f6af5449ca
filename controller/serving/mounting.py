"""Which application answers which path, below whatever prefix the site has."""

from collections.abc import Awaitable, Callable, Mapping

from controller.lean import Receive, Scope, Send

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Answered by the lean handler, whose views look at no Host, session or cookie.
MACHINE_PATHS = ("v1", "controller", "healthz", "readyz", "metrics")


def below(root_path: str, application: Application) -> Application:
    """The application under a path prefix, whether or not the proxy strips it."""

    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            path = scope["path"]
            if path != root_path and not path.startswith(root_path + "/"):
                path = root_path + path
            scope = {**scope, "root_path": root_path, "path": path}
        await application(scope, receive, send)

    return mounted if root_path else application


def by_first_segment(machine: Application, pages: Application) -> Application:
    """Machine paths to one application, everything else to the other."""

    async def chosen(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        first = path[1:].partition("/")[0]
        await (machine if first in MACHINE_PATHS else pages)(scope, receive, send)

    return chosen


def by_type(applications: Mapping[str, Application]) -> Application:
    """The application of each connection type: http, websocket, lifespan."""

    async def chosen(scope: Scope, receive: Receive, send: Send) -> None:
        await applications[scope["type"]](scope, receive, send)

    return chosen
