"""System checks: combinations of settings that would be unsafe or would not work."""
