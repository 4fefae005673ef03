"""Rooms, sessions, negotiation and signaling. Never touches a packet."""
