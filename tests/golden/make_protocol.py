"""Run the data sets of the official code, and keep which examples they give, batch by batch.

    git clone https://github.com/kzl/universal-computation DIR
    git clone https://github.com/songlab-cal/tape TAPE
    python tests/golden/make_protocol.py --official DIR --tape TAPE

Writes ``protocol.json`` beside itself: what `test_protocol.py` holds the protocol ``fpt2021`` against. The order of the
examples is random in both codes, so the file also has the order that the official code drew; ours is given the same.

The official ``MNISTDataset`` and ``RemoteHomologyDataset`` are run unchanged, with TAPE's own tokenizer and sampler of
batches. Replaced are only the files they read: 23 drawn images whose label is their number, and 23 drawn proteins. What
TAPE's package has around them (``setup_loader``, ``pad_sequences``) is written down again here, since it imports
libraries that are not needed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
import torchvision
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

FILES = {
    "official": {
        "universal_computation/datasets/dataset.py": "b89af2b78d7706afe46193139a624cac9d6aa5ec32574f7a761260a524c5431b",
        "universal_computation/datasets/mnist.py": "428efb316b7ab02df379d6e732995cbf70b59679730cd7733e8737ed9788b59c",
        "universal_computation/datasets/remote_homology.py": (
            "ecbe567ada1578ab6125e7a5e4b92c7eef0b0b03681c26b1c656f1156c84dd55"
        ),
    },
    "tape": {
        "tape/tokenizers.py": "6f5a2eb6b6327a90651c534efc772aa620469d50495e3434775eeac984b0b45b",
        "tape/utils/_sampler.py": "8ed05b3145f817f882c1287249b8a7652141fe4498d5d034496b2cda9a776630",
    },
}
"""What is run, with the SHA-256 of the commits 23b80fd (official) and 6d345c2 (TAPE)."""

COUNT, BATCH, LONGEST = 23, 4, 24
"""Examples; batch size in training; tokens above which a batch of proteins is skipped."""

TRAINED, EVALUATIONS, BATCHES = 5, 6, 3
"""Training steps before each evaluation; evaluations; batches of each."""

GOLDEN = Path(__file__).with_name("protocol.json")


def main() -> None:
    """Run both data sets, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--official", type=Path, required=True, metavar="DIR", help="checkout of the official code")
    parser.add_argument("--tape", type=Path, required=True, metavar="TAPE", help="checkout of TAPE")
    arguments = parser.parse_args()
    for name, files in FILES.items():
        folder = getattr(arguments, name)
        if wrong := [file for file, digest in files.items() if _sha256(folder / file) != digest]:
            sys.exit(f"{folder}: {', '.join(wrong)} is not that of the commit named here")
    sys.path.insert(0, str(arguments.official))
    torch.manual_seed(0)
    found = {"count": COUNT, "batch": BATCH, "longest": LONGEST, "trained": TRAINED, "batches": BATCHES}
    found |= {"mnist": _mnist(), "remote_homology": _homology(arguments.tape)}
    GOLDEN.write_text(json.dumps(found, separators=(",", ":")) + "\n")


def _trace(data: Any, orders: dict[str, list[Any]], example: Any) -> dict[str, Any]:
    """What the official trainer takes from a data set, and the orders that its loaders drew."""
    train: list[Any] = []
    evaluations: list[list[Any]] = []
    for _ in range(EVALUATIONS):
        data.start_epoch()
        train += [example(*data.get_batch(BATCH, train=True)) for _ in range(TRAINED)]
        evaluations.append([example(*data.get_batch(BATCH, train=False)) for _ in range(BATCHES)])
    return {"orders": orders, "train": train, "evaluations": evaluations}


def _mnist() -> dict[str, Any]:
    class Drawn(Dataset):  # type: ignore[type-arg]
        def __init__(self, *_: Any, transform: Any, **__: Any) -> None:
            self._transform = transform

        def __len__(self) -> int:
            return COUNT

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return self._transform(np.full((28, 28, 1), index, np.uint8)), index

    with mock.patch.object(torchvision.datasets, "MNIST", Drawn):
        from universal_computation.datasets.mnist import MNISTDataset  # type: ignore[import-not-found]

        data = MNISTDataset(batch_size=BATCH, patch_size=4)
    orders: dict[str, list[Any]] = {"train": [], "test": []}
    official = RandomSampler.__iter__

    def recorded(sampler: Any) -> Iterator[int]:
        order = list(official(sampler))
        orders["train" if sampler is data.d_train.sampler else "test"].append(order)
        return iter(order)

    with mock.patch.object(RandomSampler, "__iter__", recorded):
        return _trace(data, orders, lambda _, labels: labels.tolist())


def _homology(tape: Path) -> dict[str, Any]:
    chance = random.Random(0)
    # Some are at the limit, others in train above it: in the longest batch without <cls> and <sep> as well, or just
    # below that; in the next one only with them.
    above = (LONGEST + 1, LONGEST, LONGEST, LONGEST - 1, LONGEST - 1, LONGEST - 2, LONGEST - 2)
    special = {"train": above, "valid": (LONGEST - 2,)}
    proteins: dict[str, list[list[Any]]] = {}
    for split, sizes in special.items():
        more = [chance.randint(3, LONGEST - 3) for _ in range(COUNT - len(sizes))]
        letters = ("".join(chance.choices("ABCDEFGHIKLMNOPQRSTUVWXYZ", k=size)) for size in (*sizes, *more))
        proteins[split] = [[primary, number] for number, primary in enumerate(letters)]
    orders: dict[str, list[Any]] = {"train": [], "valid": []}
    stand_in = ModuleType("tape")
    stand_in.utils = SimpleNamespace(setup_loader=_loader_of(tape, orders))  # type: ignore[attr-defined]
    encode = _module(tape / "tape" / "tokenizers.py").TAPETokenizer("iupac").encode
    datasets = ModuleType("tape.datasets")
    datasets.RemoteHomologyDataset = lambda _, split: _Proteins(split, proteins[split], encode)  # type: ignore[attr-defined]
    with mock.patch.dict(sys.modules, {"tape": stand_in, "tape.datasets": datasets}):
        from universal_computation.datasets.remote_homology import RemoteHomologyDataset  # type: ignore[import-not-found]

        data = RemoteHomologyDataset(max_seq_len=LONGEST, train_batch_size=BATCH, test_batch_size=2 * BATCH)
    found = _trace(data, orders, lambda inputs, folds: {"inputs": inputs.tolist(), "targets": folds.tolist()})
    return {"proteins": proteins, **found}


class _Proteins(Dataset):  # type: ignore[type-arg]
    """As TAPE's data set of the same records. Source: songlab-cal/tape, tape/datasets.py."""

    def __init__(self, split: str, records: list[list[Any]], encode: Any) -> None:
        self.split, self._records, self._encode = split, records, encode

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, int]:
        primary, fold = self._records[index]
        ids = self._encode(primary)
        return ids, np.ones_like(ids), fold

    def collate_fn(self, batch: list[Any]) -> dict[str, torch.Tensor]:
        ids, _, folds = zip(*batch, strict=True)
        padded = np.zeros((len(ids), max(map(len, ids))), np.int64)
        for row, some in zip(padded, ids, strict=True):
            row[: len(some)] = some
        return {"input_ids": torch.from_numpy(padded), "targets": torch.LongTensor(folds)}


def _loader_of(tape: Path, orders: dict[str, list[Any]]) -> Any:
    """TAPE's ``setup_loader`` for one process, which records the batches of each round, skipped ones included."""

    class Sampler(torch.utils.data.Sampler[Any]):
        """As in the torch of its time, which took the data."""

        def __init__(self, data_source: Any) -> None:
            pass

    with mock.patch.object(torch.utils.data.sampler, "Sampler", Sampler):
        bucket = _module(tape / "tape" / "utils" / "_sampler.py").BucketBatchSampler

    def setup_loader(data: _Proteins, batch_size: int, *_: int) -> DataLoader[Any]:
        sampler = bucket(RandomSampler(data), batch_size, False, lambda example: len(example[0]), data)

        class Recorded(BatchSampler):
            def __init__(self) -> None:
                pass

            def __iter__(self) -> Iterator[list[int]]:
                batches = list(sampler)
                orders[data.split].append(batches)
                return iter(batches)

        return DataLoader(data, collate_fn=data.collate_fn, batch_sampler=Recorded())

    return setup_loader


def _module(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "missing"


if __name__ == "__main__":
    main()
