"""Trackers follow a search, a warm-up or a training elsewhere: curves, settings and files for TensorBoard or MLflow."""
