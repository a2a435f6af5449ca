"""Model workers: processes that know the controller by its REST contract alone.

Nothing in here imports Django or one of the apps. `workers.protocol` is the one
module that the controller imports back.
"""
