"""The Python interface: what users import from ``fptkit`` to run, build, train and study.

| file | content |
|---|---|
"""
