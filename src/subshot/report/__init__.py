"""Results told to people: terminal tables."""
