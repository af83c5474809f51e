"""Strategies choose which architecture to evaluate next."""
