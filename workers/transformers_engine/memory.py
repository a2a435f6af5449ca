"""Running out of memory, on whatever device, and what to do then."""

import torch

# GPUs have an error of their own for it; CPUs and MPS say it in words alone.
WORDS = ("can't allocate memory", "out of memory")


def ran_out_of_memory(error: Exception) -> bool:
    """Tell if a pass through a model failed for want of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(each in str(error) for each in WORDS)


def give_back_idle_memory() -> None:
    """Have the device's allocator let go of what it keeps for later."""
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
