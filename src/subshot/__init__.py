"""Find good neural networks before anyone trains them."""

__version__ = "0.1.0"
