"""Measured steps, and estimates against what real steps take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from benchmark_recipes import BIT_MEMORY, LLAMA, SETTINGS, SMALL, load
from torch.profiler import ProfilerActivity, profile

from fptkit.engine.run import RunRequest, run
from fptkit.lab.benchmarking.estimate import Estimate, estimate
from fptkit.lab.benchmarking.prepare import Prepared, prepare
from fptkit.lab.benchmarking.steps import STAGES, measure_steps

NANO = "backbone: {name: random, size: nano, dropout: 0.1}\n"


@pytest.mark.slow
def test_measured_steps_hold_together(tmp_path: Path) -> None:
    figures = measure_steps(load(tmp_path, BIT_MEMORY + NANO + SETTINGS), steps=2, repeats=3)
    assert (figures.examples, figures.tokens, figures.padding) == (8, 8 * 24, 0)
    assert figures.fastest_ms <= figures.step_ms <= figures.slowest_ms
    assert figures.examples_per_second == pytest.approx(8 / figures.step_ms * 1000)
    assert list(figures.stages_ms) == list(STAGES)
    assert all(taken > 0 for taken in figures.stages_ms.values())
    # The stages are all of a step; measured apart, on a machine where others may work.
    assert sum(figures.stages_ms.values()) < 20 * figures.slowest_ms
    # Products forward, by hand: four blocks of 12 D^2 numbers, the last one for 4 of 24 tokens but its keys and values.
    width, tokens = 256, 8 * 24
    whole = 2 * tokens * 12 * width**2
    last = 2 * (tokens * 2 * width**2 + 8 * 4 * 10 * width**2)
    forward = 3 * whole + last
    assert (
        1.5 * forward < figures.flops_per_step < 2.6 * forward
    )  # backward: as much; attention, encoder and head besides


@pytest.mark.slow
def test_padding_is_told(tmp_path: Path) -> None:
    text = "task: {name: listops, length: [10, 40], train_size: 64, validation_size: 16, test_size: 16, max_depth: 4}\n"
    tiny = "backbone: {name: random, size: nano, blocks: 1, width: 16, heads: 2}\n"
    loaded = load(tmp_path, text + tiny + SETTINGS)
    figures = measure_steps(loaded, steps=3, repeats=1)
    batches = [prepare(loaded).batches.batch(step) for step in range(3)]
    given = sum(batch.inputs.shape[0] * batch.inputs.shape[1] for batch in batches)
    real = sum(int(batch.lengths.sum()) for batch in batches if batch.lengths is not None)
    assert figures.padding == pytest.approx(1 - real / given)
    assert figures.tokens == pytest.approx(given / 3)


@pytest.mark.slow
def test_the_measured_step_is_the_one_a_run_takes(tmp_path: Path) -> None:
    """After as many steps the trained tensors are those of a run, so nothing of the step was left out or added."""
    loaded = load(tmp_path, BIT_MEMORY + NANO.replace("0.1", "0.0") + SETTINGS)
    run(RunRequest(loaded, tmp_path / "run"))
    from safetensors.torch import load_file

    trained = load_file(tmp_path / "run" / "model.safetensors")
    step = json.loads((tmp_path / "run" / "model.json").read_text())["step"]
    prepared = prepare(loaded)
    for number in range(step):
        prepared.step(number)
    mine = dict(prepared.built.model.named_parameters())
    assert step == 3
    for name, tensor in trained.items():
        assert torch.equal(tensor, mine[name]), name


def measured_activations(prepared: Prepared) -> int:
    """Bytes that the processor's allocator holds more after a forward than before, by torch's profiler."""
    batch = prepared.batches.batch(0)
    model, task = prepared.built.model, prepared.built.task
    task.loss(model(batch.inputs, batch.lengths), batch).backward()  # what is made once is made
    model.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        loss = task.loss(model(batch.inputs, batch.lengths), batch)
    held = sum(event.self_cpu_memory_usage for event in seen.events())
    loss.backward()
    return int(held)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "backbone",
    [
        "backbone: {name: random, size: nano, dropout: 0.1}\n",
        "backbone: {name: random, size: nano, dropout: 0.0}\n",
        "backbone: {name: vit, weights: random, size: nano}\n",
        "backbone: {name: bert, weights: random, size: nano}\n",
    ],
    ids=["gpt2", "gpt2 without dropout", "vit", "bert"],
)
def test_estimated_activations_are_what_the_allocator_holds(tmp_path: Path, backbone: str, precision: str) -> None:
    """Within 10 %: besides what autograd keeps, the allocator counts small things, such as the loss."""
    loaded = load(tmp_path, BIT_MEMORY + backbone + SETTINGS, [f"precision={precision}"])
    assert estimate(loaded).activation_bytes == pytest.approx(measured_activations(prepare(loaded)), rel=0.1)


def sizes_of(prepared: Prepared) -> dict[str, int]:
    """The sizes of a real model and its optimiser, counted tensor by tensor."""
    prepared.step(0)
    parameters = list(prepared.built.model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    frozen = [*(p for p in parameters if not p.requires_grad), *prepared.built.model.buffers()]
    state = prepared.trainer.training_step.optimizer.state
    means = [tensor for entry in state.values() for tensor in entry.values() if tensor.numel() > 1]

    def size(tensors: Sequence[torch.Tensor]) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    return {
        "parameters": sum(p.numel() for p in parameters),
        "trained": sum(p.numel() for p in trained),
        "frozen_bytes": size(frozen),
        "trained_bytes": size(trained),
        "optimizer_bytes": size(means),
    }


def compared(found: Estimate) -> dict[str, int]:
    return {
        name: getattr(found, name)
        for name in ("parameters", "trained", "frozen_bytes", "trained_bytes", "optimizer_bytes")
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts",
    [
        NANO,
        "backbone: {name: gpt2, weights: builtin:gpt2_nano}\nfreezing: {name: fpt}\n",
        "backbone: {name: gpt2, weights: builtin:gpt2_nano, blocks: {keep: 2}, init: statistics}\n",
        "backbone: {name: vit, weights: builtin:vit_nano, position_init: pretrained, positions: {extend: tile}}\n",
        "backbone: {name: random, like: vit, size: nano, blocks: 2}\n",
        "backbone: {name: lstm, size: nano}\n",
        "backbone: {name: attention_layer, weights: builtin:vit_nano}\n",
        "backbone: {name: random, like: bert, size: nano}\n",
        "backbone: {name: random, size: nano}\nfreezing: {name: full}\n",
        "backbone: {name: random, size: nano}\nfreezing: {name: output_only}\n",
        "backbone: {name: gpt2, weights: builtin:gpt2_nano}\nencoder: {name: linear, match_norm: true}\n",
    ],
)
def test_estimated_sizes_are_those_of_the_model(tmp_path: Path, parts: str) -> None:
    loaded = load(tmp_path, BIT_MEMORY + parts + SETTINGS)
    real = sizes_of(prepare(loaded))
    # match_norm keeps one number more, which an estimate leaves out.
    assert compared(estimate(loaded)) == pytest.approx(real, abs=4 if "match_norm" in parts else 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SMALL))
def test_estimated_sizes_of_models_of_transformers(tmp_path: Path, name: str) -> None:
    """Their position tables are told by name in an estimate, and found by running them in a run."""
    (tmp_path / "config.json").write_text(json.dumps(SMALL[name]))
    text = BIT_MEMORY + f"backbone: {{name: huggingface, weights: random, config: {tmp_path}/config.json}}\n" + SETTINGS
    loaded = load(tmp_path, text)
    assert compared(estimate(loaded)) == sizes_of(prepare(loaded))


@pytest.mark.slow
def test_operations_are_those_a_run_reports(tmp_path: Path) -> None:
    loaded = load(tmp_path, BIT_MEMORY + NANO + SETTINGS, ["train.accumulate=2"])
    found = estimate(loaded)
    summary = run(RunRequest(loaded, tmp_path / "run"))
    assert found.flops_per_step == summary["flops_per_step"]
    assert found.flops_per_run == 3 * found.flops_per_step


@pytest.mark.slow
def test_accumulation_halves_the_activations(tmp_path: Path) -> None:
    text = BIT_MEMORY + NANO + SETTINGS
    whole, halves = (estimate(load(tmp_path, text, [f"train.accumulate={count}"])) for count in (1, 2))
    assert halves.activation_bytes == pytest.approx(whole.activation_bytes / 2, rel=0.02)


@pytest.mark.slow
def test_seven_billion_parameters_need_neither_weights_nor_memory(tmp_path: Path) -> None:
    sizes = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, **sizes, "vocab_size": 32000}))
    text = BIT_MEMORY + f"backbone: {{name: huggingface, weights: 'path:{tmp_path}'}}\n" + SETTINGS
    found = estimate(load(tmp_path, text, ["precision=bfloat16"]))
    body = 6_738_415_616 - 2 * 32_000 * 4096  # Llama 2 7B without its word embedding and language head
    encoder_and_head = 50 * 4096 + 4096 + 4096 * 100 + 100
    positions = 24 * 4096  # of the tokens of six strings of 200 bits, 50 per token, since the body has no table
    assert found.parameters == body + encoder_and_head + positions
    assert found.frozen_bytes == pytest.approx(2 * body, rel=0.01)
