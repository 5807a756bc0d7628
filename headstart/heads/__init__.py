"""Vector → category: small heads on kept vectors."""
