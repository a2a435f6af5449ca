"""The hot path: from a checked request to an engine's bytes, with no Django in it.

An `exchange` is one request's life. It is made of a `claim` (its slot on a worker, or
its turn in line), its `tries` (one worker after another, and what is held against
each), its `upstream` (one engine is asked, its answer read) and its `mover` (going on
with another worker in mid-stream).
"""
