"""Results → something a person reads."""
