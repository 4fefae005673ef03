"""Sessions that move from one node to another."""
