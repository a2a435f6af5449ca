"""Model workers: standalone processes that know the controller only by its REST contract.

Nothing in here imports Django or one of the apps. `workers.protocol` is the one
module that the controller imports back.
"""
