"""Training finishes a network, or a supernet: batches by seed, a stated recipe, checkpoints that resume exactly."""
