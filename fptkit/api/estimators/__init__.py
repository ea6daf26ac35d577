"""Estimators in scikit-learn's form: a frozen transformer as a classifier or regressor of arrays and texts.

| file | content |
|---|---|
| `inputs` | tables, series and texts as inputs of a model; scaling |
| `fit` | one training on arrays in memory, with the engine |
| `estimators` | `FrozenTransformerClassifier` and `FrozenTransformerRegressor` |
"""
