"""The task ``audio``: predict a class, labels or numbers from a recording.

| file | content |
|---|---|
| `options` | options, light |
| `wav` | reader of WAV files: PCM, floating point, mu-law and A-law |
| `sound` | any recording as one channel of samples at a given rate |
| `reader` | class folders, or a table of paths, as examples; light |
| `features` | log-mel frames or raw samples as tokens |
| `preparation` | what a run keeps of its training data |
| `task` | the task |
"""
