"""What the end-to-end tests drive: a real server process, real browsers, real SDKs."""
