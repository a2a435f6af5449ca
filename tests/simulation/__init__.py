"""A fleet in simulated time: our real dispatch before engines with measured costs."""
