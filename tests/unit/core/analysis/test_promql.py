"""PromQL that is limited to one namespace: a matcher in each selector, or a refusal."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sluicegate.core.analysis.promql import MAX_DEPTH, UnsupportedQuery, limited

NS = 'ns="team"'


def compact(text: str) -> str:
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("up", f"up{{{NS}}}"),
        ("up{}", f"up{{{NS}}}"),
        ('up{a="b",}', f'up{{{NS},a="b",}}'),
        ('{__name__=~".+"}', f'{{{NS},__name__=~".+"}}'),
        ('{"my.metric", "a.b"!="c"}', f'{{{NS},"my.metric","a.b"!="c"}}'),
        ('up{ns="other"}', f'up{{{NS},ns="other"}}'),
        ("job:x:rate5m", f"job:x:rate5m{{{NS}}}"),
        ("a + b", f"a{{{NS}}} + b{{{NS}}}"),
        ("a unless ignoring(x) b OR -c", f"a{{{NS}}} unless ignoring(x) b{{{NS}}} OR -c{{{NS}}}"),
        ("a == bool on(x, by) group_left(y) b", f"a{{{NS}}} == bool on(x, by) group_left(y) b{{{NS}}}"),
        ("SUM by (on) (rate(a[5m]))", f"SUM by (on) (rate(a{{{NS}}}[5m]))"),
        ("sum(a) without (x)", f"sum(a{{{NS}}}) without (x)"),
        ('count_values("v", a)', f'count_values("v", a{{{NS}}})'),
        ("max_over_time(rate(a[5m])[1h:1m])", f"max_over_time(rate(a{{{NS}}}[5m])[1h:1m])"),
        ("a[5m:] offset -1h30m @ end()", f"a{{{NS}}}[5m:] offset -1h30m @ end()"),
        ("a @ 1609746000.5", f"a{{{NS}}} @ 1609746000.5"),
        ('label_replace(a, "x", "$1", "y", "(.*)")', f'label_replace(a{{{NS}}}, "x", "$1", "y", "(.*)")'),
        (r'a{b="}\"{c",d=`\`,e=' + r"'\''}", rf'a{{{NS},b="}}\"{{c",d=`\`,e=' + r"'\''}"),
        ("time() > 0x1F + .5e-3 * Inf", "time() > 0x1F + .5e-3 * Inf"),
        ("(((a)))", f"(((a{{{NS}}})))"),
        ("a\n  +\tb", f"a{{{NS}}} + b{{{NS}}}"),
    ],
)
def test_adds_the_matcher_to_each_selector(query: str, expected: str) -> None:
    assert compact(limited(query, "ns", "team")) == compact(expected)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "a # a comment\n",
        "a # \r + b",
        "a{b='c' or d='e'}",
        "WITH (x = a) x",
        "info(a)",
        "sum",
        "by",
        "on{}",
        "sum(by)",
        "a b",
        "a}",
        "a{",
        "a{b}",
        "a{b=c}",
        "a{:b='c'}",
        "a{,}",
        "a[5m",
        "a[x]",
        "a[5m:1m:1m]",
        "a['5m']",
        "a offset b",
        "a @ b",
        "a + ",
        "a group_left b",
        "a on b",
        "'unterminated",
        '"line\nbreak"',
        "a{b='\\\n'}",
        "1abc",
        "1_000",
        "a;b",
        "a{b='c'}{d='e'}",
        "möglich",
        "a[$__interval]",
        "a{b='c'} fill(0)",
    ],
)
def test_refuses_what_it_does_not_understand(query: str) -> None:
    with pytest.raises(UnsupportedQuery):
        limited(query, "ns", "team")


def test_refuses_deep_queries() -> None:
    limited("(" * (MAX_DEPTH - 1) + "a" + ")" * (MAX_DEPTH - 1), "ns", "team")
    with pytest.raises(UnsupportedQuery, match="levels of parentheses"):
        limited("(" * 2000 + "a" + ")" * 2000, "ns", "team")


WORDS = "a b:c sum by on bool offset and or unless group_left inf rate info start end".split()  # noqa: SIM905
SIGNS = "( ) { } [ ] [5m] [1h:1m] , = == =~ != > - + * @ 1 5m \"x\" '}' `{` #".split()  # noqa: SIM905
PIECES = st.sampled_from([*WORDS, *SIGNS, "\n"])


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=15))
def test_every_selector_of_an_accepted_query_is_limited(pieces: list[str]) -> None:
    try:
        query = limited(" ".join(pieces), "ns", "team")
    except UnsupportedQuery:
        return
    assert compact(limited(query, "ns", "team")).count(NS) == 2 * compact(query).count(NS)
    bare = re.sub(r""""[^"]*"|'[^']*'|`[^`]*`""", lambda match: NS if match[0] == '"team"' else "_", query)
    assert bare.count("{") == bare.count("{ns=")
    assert query.count(NS) == bare.count("{")
