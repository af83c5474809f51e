"""Contract suites that any space, proxy or strategy, ours or a third party's, can be run through."""
