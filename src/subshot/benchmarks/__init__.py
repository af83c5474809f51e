"""Truth tables and the statistics that judge a score against them."""
