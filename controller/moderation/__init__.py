"""Rules about what is asked and what is answered: found, blocked, redacted, flagged."""
