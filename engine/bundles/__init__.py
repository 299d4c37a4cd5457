"""Batch and transaction Bundles: what their entries ask for, and how all of it is done at once."""
