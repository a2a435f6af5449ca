"""Guests: people who chat by a link for a while, without an account of their own."""
