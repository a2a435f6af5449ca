"""Weights in 8 or 4 bits, by bitsandbytes, which does so on GPUs and on CPUs."""

from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from workers.errors import BadSetting

DEVICES = ("cuda", "xpu", "cpu")


def quantization_config(num_bits: int, device: str) -> Any:
    """Return how transformers is to load weights in `num_bits`, 8 or 4.

    Raises BadSetting where that cannot be done.
    """
    flag = f"--load-{num_bits}bit"
    if not device.startswith(DEVICES):
        raise BadSetting(f"{flag} works on {', '.join(DEVICES)}, not on {device}.")
    if find_spec("bitsandbytes") is None:
        raise BadSetting(f"{flag} needs bitsandbytes: `pip install bitsandbytes`.")
    if num_bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    compute = torch.float32 if device == "cpu" else torch.bfloat16
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute
    )
