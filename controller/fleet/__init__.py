"""The fleet: who may join it, who is live in it, and who gets the next request."""
