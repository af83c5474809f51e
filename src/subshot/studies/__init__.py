"""A study remembers: it drives a strategy, stores every evaluation and resumes after a kill."""
