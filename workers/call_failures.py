"""Why an HTTP call got no answer, for those who read a worker's log."""

import aiohttp


def why_unanswered(error: Exception) -> str:
    """Return the reason, to stand behind "the controller" or "the upstream"."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"its certificate or TLS is not accepted ({error})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "nothing answers there"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return str(error) or type(error).__name__
