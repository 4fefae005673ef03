"""Placement of a large cluster over a day, simulated: `python -m bench.cluster.placement`."""

from bench.cluster.placement.simulation import REGIONS, Result, Scenario, by_name, simulate

__all__ = ["REGIONS", "Result", "Scenario", "by_name", "simulate"]
