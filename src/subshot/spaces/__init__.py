"""Spaces yield architectures and build their networks."""
