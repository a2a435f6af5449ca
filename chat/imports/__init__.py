"""Conversations from elsewhere: our own JSON, ChatGPT's and Open WebUI's exports."""
