"""Rooms that span nodes: what nodes tell each other of participants and tracks, and how media gets there."""
