"""A supernet, warmed up on a little data, lends its weights to all architectures of a space."""
