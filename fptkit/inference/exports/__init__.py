"""A run's model for use elsewhere: as a program of torch.export, as ONNX, or as a delta file.

| file | content |
|---|---|
| `form` | the inputs of an exported program, and examples of them |
| `plain` | the model as it is exported: float32, torch's own operators |
| `trace` | the program, for any batch size and, where it can be, any number of tokens |
| `check` | the comparison of an export with the run |
| `formats` | the files of each format |
| `readme` | how to load them |
| `write` | all of it, in one folder |
"""
