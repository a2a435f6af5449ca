"""Patterns of browser origins: which are taken, and what they match."""

import pytest

from controller.cors import OriginRule, OriginRules
from controller.identity.origins import matches, parse_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "https://example.com",
        "https://app.example.com:8443",
        "http://localhost:5173",
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
        "https://*.example.com",
        "https://*.app.example.com:8443",
        "http://*.localhost:3000",
        "https://xn--bcher-kva.example",
        "chrome-extension://abcdefghijklmnop",
    ],
)
def test_an_origin_as_browsers_send_it_is_a_pattern(pattern):
    assert parse_pattern(f"  {pattern} ") == pattern


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("*", "every site"),
        ("null", "sandboxed frames"),
        ("", "write scheme and host"),
        ("example.com", "write scheme and host"),
        ("https://Example.com", "lower case"),
        ("https://bücher.example", "write scheme and host"),
        ("https://example.com/", "nothing after them"),
        ("https://example.com/app", "nothing after them"),
        ("https://user@example.com", "write scheme and host"),
        ("https://example.com?x", "nothing after them"),
        ("https://example.com:443", "without :443"),
        ("http://example.com:80", "without :80"),
        ("https://app-*.example.com", "whole first label"),
        ("https://app.*.example.com", "whole first label"),
        ("https://*.*.example.com", "whole first label"),
        ("https://example.*", "whole first label"),
        ("https://*example.com", "whole first label"),
        ("https://*.com", "top-level domain"),
        ("https://*", "top-level domain"),
        ("https://*.com.", "top-level domain"),
        ("https://a..example.com", "two dots"),
        ("https://example.com.", "stands at an end"),
        ("*://example.com", "write scheme and host"),
        ("https://localhost:*", "write scheme and host"),
        ("https://a.com https://b.com", "write scheme and host"),
        (f"https://{'a' * 300}.com", "write scheme and host"),
    ],
)
def test_a_wrong_pattern_is_refused_with_the_reason(wrong, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        parse_pattern(wrong)

    assert repr(wrong) in str(caught.value)


STAR = {"https://*.example.com"}
EXACT = {"https://example.com"}


@pytest.mark.parametrize(
    ("origin", "patterns"),
    [
        ("https://example.com", EXACT),
        ("https://app.example.com", STAR),
        ("https://evil-app.example.com", STAR),
        ("http://a.localhost:3000", {"http://*.localhost:3000"}),
    ],
)
def test_an_origin_matches_itself_and_the_star_of_its_parent(origin, patterns):
    assert matches(origin, patterns)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "*",
        "https://*.example.com",
        "http://example.com",
        "http://app.example.com",
        "https://example.com:8443",
        "https://app.example.com:8443",
        "https://evil-example.com",
        "https://evilexample.com",
        "https://example.com.evil.com",
        "https://app.example.com.evil.com",
        "https://a.b.example.com",
        "https://.example.com",
        "https://evil.com/.example.com",
        "https://evil.com#.example.com",
        "https://user@.example.com",
        "https://EXAMPLE.com",
        "https://example.com.",
        "https://example.com, https://evil.com",
    ],
)
def test_what_only_looks_alike_matches_neither(origin):
    assert not matches(origin, STAR | EXACT)


def rule(pattern, **fields):
    return OriginRule(pattern, ("*",), ("*",), **fields)


def test_the_star_of_a_parent_is_not_for_the_parent_itself():
    assert not matches("https://example.com", STAR)


def test_of_several_rules_the_narrowest_holds():
    rules = OriginRules(
        [rule("*"), rule("https://*.example.com"), rule("https://app.example.com")]
    )

    found = {
        origin: rules.find(origin).pattern
        for origin in ("https://app.example.com", "https://b.example.com", "null")
    }

    assert found == {
        "https://app.example.com": "https://app.example.com",
        "https://b.example.com": "https://*.example.com",
        "null": "*",
    }
    assert not OriginRules()
    assert OriginRules().find("https://app.example.com") is None
