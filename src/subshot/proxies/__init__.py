"""Proxies turn the evidence of one look at a network into a score."""
