"""What a network costs: parameters, multiply-accumulate operations, activation memory, latency."""
