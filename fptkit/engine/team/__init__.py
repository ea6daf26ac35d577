"""Several processes that carry out one run. `launch` is read without torch, so nothing is imported here."""
