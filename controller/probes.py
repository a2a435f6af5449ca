"""Is the process alive, is it ready, how does it fare: for machines that watch it."""

from django.http import HttpRequest, HttpResponse, JsonResponse


async def healthz(request: HttpRequest) -> HttpResponse:
    """200 as long as this process answers at all."""
    return HttpResponse(b"ok\n", content_type="text/plain")


async def readyz(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"ready": True})


async def metrics(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"", content_type="text/plain")
