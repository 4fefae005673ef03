"""LiveKit's client protocol, versions 1 (one peer connection) and 0 (two). Messages are those of `livekit-protocol`."""
