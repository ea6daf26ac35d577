"""Makes ``delta_1.safetensors`` and ``delta_1.json``: a delta file of format 1, and what its model answers.

Run once, with the version that introduced the format; later versions must load the file and answer the same:
``python tests/golden/make_delta.py``
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from fptkit.engine.run import RunRequest, run
from fptkit.inference.exports.write import export
from fptkit.inference.trained import load
from fptkit.recipe.load import load_recipe

HERE = Path(__file__).parent

RECIPE = """
task: {name: table, source: {train: path:train.csv, validation: path:train.csv}, target: [kind]}
backbone: {name: random, size: nano, blocks: 2, width: 32, heads: 2}
train: {batch_size: 4, max_steps: 20, validate_every: 10, patience: null, learning_rate: 1e-2}
precision: float32
threads: 1
"""

ROWS = [f"{(7 * n) % 11 + 0.5},{'abc'[n % 3]},{'yes' if n % 3 else 'no'}" for n in range(24)]

NEW = "size,place\n3.5,a\n,b\n9.25,c\n1,d\n"
"""New rows: one without a number, one with an unknown category."""


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "train.csv").write_text("size,place,kind\n" + "\n".join(ROWS) + "\n")
        (folder / "new.csv").write_text(NEW)
        recipe = RECIPE.replace("path:", f"path:{folder}/")
        (folder / "golden.yaml").write_text(recipe)
        run(RunRequest(load_recipe(str(folder / "golden.yaml")), folder / "run", open_test=False))
        model = load(folder / "run")
        export(model, "safetensors", folder / "delta")
        (HERE / "delta_1.safetensors").write_bytes((folder / "delta" / "delta.safetensors").read_bytes())
        inputs = f"path:{folder / 'new.csv'}"
        content = {
            "new": NEW,
            "classes": list(model.classes),
            "predicted": model.predict(inputs).tolist(),
            "logits": model.logits(inputs).tolist(),
            "digest": model.origin["frozen"]["digest"],
        }
    (HERE / "delta_1.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
