"""Vision transformers of timm as sequence models for any tokens."""
