"""An engine that answers by asking a provider whose API is not OpenAI's.

It is an OpenAI-compatible server of its own process, guarded as other engines are. The
translation is any-llm's, over the providers' own clients; here are the server, the
limits of what can be translated, and what a failure means. The provider's key is in
this process alone.
"""
