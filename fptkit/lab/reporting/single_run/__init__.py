"""The report of a single run, made from its folder alone."""
