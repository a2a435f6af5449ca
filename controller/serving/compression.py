"""Pages are compressed on their way out; streams are not."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware


class PageCompressionMiddleware(GZipMiddleware):
    """Django's, which pads pages against BREACH, for whole answers alone.

    Of an async stream Django makes each block a gzip member of its own, and Chromium
    shows and saves only the first: a file would end after its first block.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if response.streaming:
            return response
        return super().process_response(request, response)
