"""What is done to a cluster of the lab, and what its participants notice. `tests/cluster_lab` runs small ones."""
