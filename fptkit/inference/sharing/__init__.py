"""Runs that leave the machine: what of them may leave, pushing to a hub with a model card, pulling from it.

| file | content |
|---|---|
| `places` | names of folders of this machine, left out of what is shared |
| `contents` | the files of a run that are pushed |
| `card` | the model card, README.md |
| `hub` | the hub's errors as one line each |
| `push` | to a hub |
| `pull` | from a hub |
"""
