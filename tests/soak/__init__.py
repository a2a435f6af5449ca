"""The product under load and failures for minutes or days: nothing may grow.

`python -m tests.soak --minutes 10`, or `make soak MINUTES=10`.
"""
