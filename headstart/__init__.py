"""headstart: product listings to categories, with frozen encoders read once and small Keras heads."""

__version__ = "0.1.0"
