"""Limits and budgets: reserved before dispatch, settled once on every ending."""
