"""A web process from its start to its end: mounting, lifespan, and the two servers."""
