"""Wiring: settings, URLs, the ASGI application and the task app. No logic."""
