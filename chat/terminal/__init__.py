"""A chat in the terminal over the API, for machines that need nothing but the API.

It imports no Django and nothing of the site, so that it starts at once and talks to any
OpenAI-compatible server. `switchyard-chat`, or `python -m chat.terminal`.
"""
