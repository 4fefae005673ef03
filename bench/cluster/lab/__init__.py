"""A cluster on one machine: real nodes, NATS and clients, each in a network namespace, joined by emulated paths."""
