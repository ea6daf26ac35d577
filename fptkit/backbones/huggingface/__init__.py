"""Models of the library transformers as backbones, driven by token vectors (``inputs_embeds``)."""
