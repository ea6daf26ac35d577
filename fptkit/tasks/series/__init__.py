"""The task ``series``: predict a class, labels or numbers from a time series, or forecast its next values.

| file | content |
|---|---|
| `options` | options, light; how files are read, as a part of the preparation |
| `values` | series in memory, and filling of missing values |
| `ts_file`, `tsv`, `arrays`, `tables` | readers of the formats |
| `reader` | the reader for each file; the files of a source, and its splits |
| `preparation` | what a run keeps of its training data |
| `windows`, `baselines` | windows of a forecast, and forecasts without a network |
| `task`, `forecasting` | the two halves of the task |
"""
