"""Session descriptions: JSEP (RFC 9429) with BUNDLE (RFC 9143), ICE-lite (RFC 8839) and simulcast (RFC 8853).

Pure functions over plain values: `parse` reads what a client says, `answer` and `offer` write what we say.
No socket, no clock.
"""
