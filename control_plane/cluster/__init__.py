"""One room across nodes: shared state, placement, links between nodes."""
