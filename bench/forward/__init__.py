"""The side-by-side of forwarding: pysfu, the bare relay that is the ceiling, and peers, in one session."""
