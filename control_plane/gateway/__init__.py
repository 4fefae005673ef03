"""The gateway: LiveKit's client protocol, WHIP, WHEP and the web client, as a client of the public gRPC API."""
