"""The benchmark: what the product adds to a request, measured against a mock engine.

`python -m tests.bench` runs it (`make bench`); `docs/performance.md` says what each
figure means. `load` generates the load in a process of its own, `product` starts and
weighs what is measured, `report` writes the tables.
"""
