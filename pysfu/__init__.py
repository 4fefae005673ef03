"""A selective forwarding unit for WebRTC: media in a Rust core, control from Python."""
