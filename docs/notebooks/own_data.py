# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own data in Python
#
# From a table to predictions. The file is made here, so that the notebook needs nothing; put your own in its place.

# %%
import csv
import random
from pathlib import Path

chance = random.Random(0)
kinds = [("wren", 49, 9), ("robin", 72, 18), ("thrush", 115, 70)]
rows = []
for number in range(300):
    species, wing, weight = kinds[number % 3]
    rows.append([round(chance.gauss(wing, 5), 1), round(weight * chance.uniform(0.8, 1.2), 1), species])
with open("birds.csv", "w", newline="") as file:
    csv.writer(file).writerows([["wing_mm", "weight_g", "species"], *rows])

# %% [markdown]
# ## A recipe
#
# A recipe is a file or a mapping. `target` names the column to predict; kinds of columns, scaling and splits are found by the rules
# of [your own data](../data/index.md). On the command line, `fptkit new recipe --data birds.csv` writes such a recipe.

# %%
import fptkit

recipe = {
    "task": {"name": "table", "source": "path:birds.csv", "target": "species"},
    "backbone": {"name": "gpt2", "weights": ["builtin:gpt2_nano"], "dropout": 0.0},
    "head": {"readout": "mean"},
    "train": {"learning_rate": 1e-3, "batch_size": 32, "max_steps": 60, "validate_every": 20},
}
result = fptkit.run(recipe, output="runs/birds")
print(result.metrics["test"])

# %% [markdown]
# What was read is in the notes of the run, and so is everything that is probably wrong. Read them before the accuracy.

# %%
print(*result.summary["notes"], sep="\n")
print("most frequent class:", result.summary["majority_accuracy"]["test"])

# %% [markdown]
# ## Predict
#
# The folder of the run is enough: it has the names of the classes, and the scaling. Predictions come in the words of the data.

# %%
Path("new_birds.csv").write_text("wing_mm,weight_g\n50.1,9.3\n71.0,17.2\n118.4,66.0\n")
model = fptkit.load("runs/birds")
print(model.classes)
print(model.predict("path:new_birds.csv"))

# %% [markdown]
# ## The same as an estimator of scikit-learn
#
# For arrays in memory. It works in pipelines, cross-validation and searches.

# %%
import numpy as np

X = np.array([row[:2] for row in rows])
y = np.array([row[2] for row in rows])
classifier = fptkit.FrozenTransformerClassifier(max_steps=60).fit(X[::2], y[::2])
print("accuracy on the other half:", round(classifier.score(X[1::2], y[1::2]), 3))

# %% [markdown]
# A frozen language model is rarely the best model for a table: compare with a simple one before you believe in it.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

simple = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[::2], y[::2])
print("logistic regression:", round(simple.score(X[1::2], y[1::2]), 3))
