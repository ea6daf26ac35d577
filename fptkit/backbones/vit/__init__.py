"""Vision transformers of timm as backbones for any tokens."""
