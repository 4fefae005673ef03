"""Thin gRPC servicers: authenticate, ask the node, translate."""
