import pytest

from workers.metrics_scrape import EngineNumbers, parse_engine_numbers

# As vLLM 0.32 with two data-parallel ranks prints them.
PAGE = """
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 1.2e+06
vllm:prompt_tokens_created{engine="0",model_name="m"} 1.795345612714503e+09
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="128",kv_cache_size_tokens="93184"} 1.0
"""


def test_ranks_are_added_and_the_fullest_cache_counts() -> None:
    numbers = parse_engine_numbers(PAGE)

    assert numbers == EngineNumbers(
        running=5,
        waiting=1,
        kv_cache_usage=0.5,
        kv_cache_tokens=93184,
        prompt_tokens_total=1_200_000,
    )


def test_what_is_not_reported_is_unknown_rather_than_zero() -> None:
    numbers = parse_engine_numbers("")

    assert numbers.running == 0
    assert numbers.kv_cache_usage is None
    assert numbers.prefix_cache_hits_total is None


def test_a_broken_page_is_an_error() -> None:
    with pytest.raises(ValueError, match="convert"):
        parse_engine_numbers("vllm:num_requests_running{engine= 3.0")
