"""The Python interface: what users import from ``fptkit`` to run, build, train and study.

| file | content |
|---|---|
| `runs` | `fptkit.run`, `fptkit.build` and their result |
| `studies` | `fptkit.study` and its result; one study from plan to reports, for the command line too |
| `training`, `module` | `fptkit.train`: the engine's loop for a user's own module and data loaders |
| `estimators/` | the estimators in scikit-learn's form |
| `notebook`, `notebook_study`, `display` | progress in notebooks, results as tables |

Names reach users through ``fptkit`` itself, at first use. Like the command line, this part may import all others.
"""
