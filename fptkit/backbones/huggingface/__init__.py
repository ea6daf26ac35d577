"""Models of the library transformers as backbones, driven by token vectors (``inputs_embeds``)."""

import os

# The library would download kernels for some models, and run them. It reads this when it is imported.
os.environ.setdefault("USE_HUB_KERNELS", "NO")
