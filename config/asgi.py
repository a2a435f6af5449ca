"""The ASGI application: pages, machine paths, websockets and the process's lifespan."""

import os
from typing import Any, cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.asgi import get_asgi_application

pages: Any = get_asgi_application()  # loads the apps: imports of models come after it

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from chat.generations import running_generations
from chat.routing import websocket_urlpatterns as chat_sockets
from chat.uploads import body_limits
from controller.gateway import running_gateway
from controller.lean import LeanHandler
from controller.routing import websocket_urlpatterns as fleet_sockets
from controller.serving.body_limit import with_body_limits
from controller.serving.lifespan import Lifespan
from controller.serving.mounting import Application, below, by_first_segment, by_type

lifespan = Lifespan(running_gateway, running_generations)
sockets: Any = AllowedHostsOriginValidator(
    AuthMiddlewareStack(URLRouter(cast("Any", [*chat_sockets, *fleet_sockets])))
)
application: Application = by_type(
    {
        "http": lifespan.started_before(
            by_first_segment(
                LeanHandler(settings.LEAN_URLCONF, settings.LEAN_MIDDLEWARE),
                with_body_limits(
                    pages, body_limits(), settings.DATA_UPLOAD_MAX_MEMORY_SIZE
                ),
            )
        ),
        "websocket": lifespan.started_before(sockets),
        "lifespan": lifespan,
    }
)
application = below(settings.ROOT_PATH, application)
# Client address and scheme are the proxy's word for a trusted peer only.
# The annotations of uvicorn's own types are narrower than what it takes.
application = cast(
    "Application",
    ProxyHeadersMiddleware(
        cast("Any", application),
        trusted_hosts=[str(network) for network in settings.TRUSTED_PROXIES],
    ),
)
