"""Engines' refusals in OpenAI's words. The sentences are the engines' own."""

import msgspec
import pytest

from controller.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    NoWorkerAvailable,
    UpstreamFailed,
)
from controller.relay.engine_errors import translate

# vLLM 0.32: renderers/params.py and entrypoints/serve/utils/api_utils.py
VLLM_TOO_LONG = [
    "This model's maximum context length is 2048 tokens. However, your prompt contains"
    " at least 2049 input tokens, which exceeds this limit even without any output"
    " tokens. Please reduce the length of the input prompt.",
    "This model's maximum context length is 2048 tokens. However, your prompt contains"
    " 90000 characters (more than 65536 characters, which is the upper bound for 2048"
    " input tokens). Please reduce the length of the input prompt.",
    "Input length (3000) exceeds model's maximum context length (2048).",
]
# workers/transformers_engine/errors.py
OURS_TOO_LONG = (
    "This model's maximum context length is 2048 tokens. However, your messages"
    " resulted in 3000 tokens."
)


def body(message: str, **more: object) -> bytes:
    return msgspec.json.encode({"error": {"message": message, **more}})


@pytest.mark.parametrize("sentence", VLLM_TOO_LONG)
def test_vllms_words_for_too_long_a_prompt_are_understood(sentence):
    refusal = body(sentence, type="BadRequestError", param="input_tokens", code=400)

    error = translate("vllm", 400, refusal)

    assert isinstance(error, ContextLengthExceeded)
    assert (error.status, error.code) == (400, "context_length_exceeded")
    assert "2048" in error.message


def test_our_own_workers_refusal_keeps_both_numbers():
    code = "context_length_exceeded"

    error = translate("transformers", 400, body(OURS_TOO_LONG, code=code))

    assert isinstance(error, ContextLengthExceeded)
    assert "2048" in error.message
    assert "3000" in error.message


def test_another_mistake_of_the_client_is_told_with_its_field():
    message = "max_tokens=9 cannot be greater than max_model_len=8."
    refusal = body(message, type="BadRequestError", param="max_tokens", code=400)

    error = translate("vllm", 400, refusal)

    assert type(error) is InvalidRequest
    assert (error.message, error.param) == (message, "max_tokens")
    assert error.code == "invalid_value"  # vLLM's own is the number 400


@pytest.mark.parametrize("status", [300, 401, 403, 404, 405, 500, 502, 504])
def test_what_is_not_about_the_request_says_nothing_of_the_engine(status):
    refusal = body("Traceback in /opt/engine, key sk-123", code=status)

    error = translate("vllm", status, refusal)

    assert isinstance(error, UpstreamFailed)
    assert error.status == 502
    assert f"it said {status}" in error.message
    assert "sk-123" not in error.message


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_engine_says_when_to_come_back(status):
    error = translate("vllm", status, b"busy")

    assert isinstance(error, NoWorkerAvailable)
    assert error.headers() == {"Retry-After": "2"}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("37", 37), ("86400", 3600), ("0", 2), ("soon", 2), ("Thu, 26 Nov 2026", 2)],
)
def test_an_engine_that_says_when_is_quoted_within_bounds(header, seconds):
    error = translate("anthropic", 429, b"", retry_after=header)

    assert error.retry_after == seconds


@pytest.mark.parametrize(
    "refusal",
    [b"", b"<html>", b"[]", b'{"object": "error"}', b'{"error": {"message": null}}'],
)
def test_a_refusal_that_is_not_understood_is_the_engines_fault(refusal):
    assert isinstance(translate("vllm", 400, refusal), UpstreamFailed)


# SGLang, FastChat and vLLM of before 2025; TGI
@pytest.mark.parametrize(
    "refusal",
    [
        {"object": "error", "message": OURS_TOO_LONG, "type": "x", "code": 40303},
        {"object": "error", "message": OURS_TOO_LONG, "param": None, "code": 400},
        {"error": OURS_TOO_LONG, "error_type": "validation"},
    ],
)
def test_refusals_that_are_written_flat_are_understood_too(refusal: dict):
    error = translate("other", 422, msgspec.json.encode(refusal))

    assert isinstance(error, ContextLengthExceeded)
    assert error.message == OURS_TOO_LONG


def test_a_refusal_that_was_not_read_to_its_end_is_still_about_the_request():
    refusal = body("x" * 100_000)[:1000]

    assert type(translate("vllm", 400, refusal, is_cut=True)) is InvalidRequest
    assert isinstance(translate("vllm", 500, refusal, is_cut=True), UpstreamFailed)


def test_what_an_engine_says_is_cut_to_what_a_row_and_a_person_can_take():
    refusal = body("x" * 100_000, code="c" * 100_000, param="p" * 100_000)

    error = translate("vllm", 400, refusal)

    assert len(error.message) <= 500
    assert error.code == "invalid_value"
    assert len(error.param) <= 100


def test_a_refusal_without_words_still_says_something():
    assert translate("vllm", 400, body("")).message
