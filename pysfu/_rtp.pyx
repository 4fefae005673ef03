# cython: boundscheck=False, wraparound=False, cdivision=True
"""Batch reader and writer of RTP headers (RFC 3550 section 5.1) over one buffer of many packets."""
