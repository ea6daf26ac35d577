"""Use what a run trained: load it, predict, embed, evaluate, export, share. The training data are not needed.

| file | content |
|---|---|
| `saved_task` | the task of a run as far as its folder describes it |
| `trained` | `TrainedModel`, a run's model with everything that prepares its inputs; `load` |
| `inputs` | files, contents or batches as prepared batches |
| `evaluation` | metrics and tables on labelled examples, and the count of how often a test was opened |
"""
