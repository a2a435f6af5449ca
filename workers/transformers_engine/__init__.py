"""An inference engine over transformers, behind an OpenAI-compatible HTTP server.

A scheduler thread admits sequences to a batch and retires them between decoding
steps; the HTTP side, a plain ASGI application, hands requests in and text out.
"""
