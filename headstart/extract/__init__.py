"""Listing → vector, once."""
