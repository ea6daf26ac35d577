"""Use what a run trained: load it, predict, embed, evaluate, export, share. The training data are not needed.

| file | content |
|---|---|
| `saved_task` | the task of a run as far as its folder describes it |
| `trained` | `TrainedModel`, a run's model with everything that prepares its inputs; `load` |
| `inputs` | files, contents or batches as prepared batches |
| `columns` | predictions as columns of a table |
| `tables`, `vectors` | writing predictions and embeddings |
| `evaluation` | metrics and more on a split of the run, or on other labelled examples |
| `result` | what an evaluation found |
| `openings` | how often a test was opened |
| `saved` | where a run is saved: a run folder, a pulled one, a delta file |
| `delta`, `exports` | files for use elsewhere |
| `sharing` | the hub: push and pull, with a card |
"""
