"""The quality side-by-side: the engine in simulated time, and real browsers through pysfu and its peers."""
