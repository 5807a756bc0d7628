"""A classifier in production: an HTTP API with a page, and an export for TensorFlow Serving."""
