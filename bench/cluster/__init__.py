"""The cluster measured: placement simulated, links, failover."""
