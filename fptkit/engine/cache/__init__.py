"""The feature cache: each example passes the frozen part of the model once."""
