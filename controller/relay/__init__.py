"""The hot path: from a checked request to an engine's bytes, with no Django in it."""
