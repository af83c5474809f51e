"""Real images, from a user's files or from packages the install brings."""
