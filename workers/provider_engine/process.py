"""What the agent and this engine's process agree on."""

UPSTREAM_KEY_VARIABLE = "SWITCHYARD_UPSTREAM_KEY"
"""Holds the provider's key, if no file does: never the command line."""
UPSTREAM_HEADERS_VARIABLE = "SWITCHYARD_UPSTREAM_HEADERS"
"""Holds what every call brings along, as a JSON object."""
