"""Torch and the machine under it: processor, memory, GPU, precision, compiled kernels. Torch is imported late."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from fptkit.lab.caches import shown_size
from fptkit.lab.doctor.findings import Finding

INSTRUCTIONS = (
    "avx2",
    "avx512_f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "sve",
    "bf16",
    "i8mm",
)
"""Instruction sets that decide how fast matrices are multiplied, as torch or Linux name them."""


def torch() -> list[Finding]:
    """Torch itself; a fault if it cannot be imported: everything but listings needs it."""
    try:
        import torch
    except Exception as err:  # a broken installation fails in many ways: ImportError, OSError, RuntimeError
        reason = " ".join(str(err).split()) or type(err).__name__
        return [Finding("torch", f"cannot be imported: {reason}", "fault", "install it again: https://pytorch.org")]
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for processors only"
    threads = torch.get_num_threads()
    facts = {"version": torch.__version__, "cuda": torch.version.cuda, "threads": threads}
    return [
        Finding("torch", f"{torch.__version__}, {built}", facts=facts),
        Finding("threads", f"{threads} for one operation (OMP_NUM_THREADS, or threads: of a recipe, changes it)"),
    ]


def processor() -> Iterator[Finding]:
    """The processor, its instructions for matrices, and the memory."""
    from fptkit.engine.facts import processor_model

    usable, cores = usable_cores(), os.cpu_count() or 1
    of = "" if usable == cores else f" of {cores}"
    yield Finding("processor", f"{processor_model() or 'unknown'}, {usable}{of} cores", facts={"cores": usable})
    found = instructions()
    yield Finding("instructions", ", ".join(found) or "none of those for matrices", facts={"instructions": found})
    total, available = memory()
    if total is not None and available is not None:
        text = f"{shown_size(total)}, {shown_size(available)} available"
        yield Finding("memory", text, facts={"bytes": total, "available_bytes": available})


def usable_cores() -> int:
    """Cores that this process may use; a container may allow fewer than there are."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def instructions() -> list[str]:
    """Which of `INSTRUCTIONS` this processor has: as torch sees it, and as Linux lists it."""
    import torch

    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in the oldest supported torch
    found = {name for name, has in capabilities.items() if has is True}
    listing = Path("/proc/cpuinfo")
    text = listing.read_text(encoding="utf-8", errors="replace") if listing.is_file() else ""
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    found |= {flag.replace("avx512f", "avx512_f") for flag in (flags[1].split() if flags else ())}
    return [name for name in INSTRUCTIONS if name in found]


def memory() -> tuple[int | None, int | None]:
    """Memory of this machine or container, and what of it is available, in bytes; None if the system does not say."""
    listing = Path("/proc/meminfo")
    text = listing.read_text(encoding="utf-8") if listing.is_file() else ""
    kib = {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    total, available = (1024 * kib[name] if name in kib else None for name in ("MemTotal", "MemAvailable"))
    if total is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _container_limit()
    if limit is not None and total is not None and limit < total:
        used = _number(Path("/sys/fs/cgroup/memory.current")) or 0
        left = max(0, limit - used)
        return limit, left if available is None else min(available, left)
    return total, available


def _container_limit() -> int | None:
    """The limit that a container sets, in bytes; None if there is none."""
    return _number(Path("/sys/fs/cgroup/memory.max"))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max": no limit
        return None


def gpu() -> Iterator[Finding]:
    """The GPUs that torch can use."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        yield _no_gpu([str(one.message) for one in caught])
        return
    for number in range(torch.cuda.device_count()):
        name, (major, minor) = torch.cuda.get_device_name(number), torch.cuda.get_device_capability(number)
        facts = {"name": name, "capability": f"{major}.{minor}"}
        try:
            free, total = torch.cuda.mem_get_info(number)
        except RuntimeError as err:  # another process holds it alone, or a driver is broken
            reason = str(err).partition("\n")[0]
            yield Finding(f"GPU {number}", f"{name}: not usable: {reason}", "warning", "use --set device=cpu", facts)
            continue
        text = f"{name}, compute capability {major}.{minor}, {shown_size(free)} of {shown_size(total)} free"
        yield Finding(f"GPU {number}", text, facts={**facts, "bytes": total, "free_bytes": free})


def _no_gpu(said: list[str]) -> Finding:
    """Why there is no GPU: none, a torch without CUDA, or a driver that torch complains about."""
    import torch

    if said:
        reason = " ".join(said[0].split())
        return Finding("GPU", f"not usable: {reason}", "warning", "update the driver, or install another torch")
    if torch.version.cuda is None and Path("/proc/driver/nvidia/version").exists():
        advice = "install torch with CUDA: https://pytorch.org"
        return Finding("GPU", "there is an NVIDIA driver, but torch is for processors only", "warning", advice)
    return Finding("GPU", "none: runs use the processor", "note")


def precision() -> Finding:
    """The precision that ``precision: auto_float`` chooses here, and why."""
    from fptkit.numerics.precision import choose_device, choose_precision

    device = choose_device("auto")
    chosen = choose_precision("auto_float", device)
    what = "GPU" if device.type == "cuda" else "processor"
    has = "multiplies" if chosen == "bfloat16" else "does not multiply"
    text = f"{chosen} for frozen weights on {device.type}: this {what} {has} bfloat16 natively"
    return Finding("precision", text, facts={"device": device.type, "precision": chosen})


def kernels() -> Iterator[Finding]:
    """Whether the CPU kernels are compiled, or why not; the first time compiles them."""
    from fptkit.errors import UsageError
    from fptkit.numerics import compiler
    from fptkit.numerics import kernels as numerics

    found = compiler.commands("C")
    facts = {"compilers": [command[0] for command in found]}
    try:
        problem = numerics.why_not()
    except UsageError as err:  # an unknown value of FPTKIT_KERNELS
        yield Finding("CPU kernels", str(err), "fault", f"unset {compiler.SWITCH}", facts)
        return
    if problem is None:
        yield Finding("CPU kernels", f"compiled by {found[0][0] if found else 'an earlier compiler'}", facts=facts)
        return
    advice = "it works without, but steps on the processor are slower; see docs/speed.md"
    yield Finding("CPU kernels", f"not used: {problem}", "warning", advice, facts)
