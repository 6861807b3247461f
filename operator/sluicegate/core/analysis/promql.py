"""PromQL that is limited to the series of one namespace.

A query is parsed, a matcher is added to each selector, and the result is written from the parsed tokens alone. A query
that this parser does not understand is refused. So no text reaches Prometheus that Prometheus could read in another way
than this module, such as a comment or a new kind of selector.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, NoReturn

MAX_DEPTH: Final = 50
"""Maximum depth of nested expressions."""

_TOKEN: Final = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<string>"(?:[^"\\\n]|\\[^\n])*" | '(?:[^'\\\n]|\\[^\n])*' | `[^`]*`)
    | (?P<number>(?:0[xX][0-9a-fA-F]+ | (?:[0-9]+(?:ms|[smhdwy]))+
        | (?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![\w.:]))
    | (?P<name>[A-Za-z_:][A-Za-z0-9_:]*)
    | (?P<sign>=~|!~|==|!=|>=|<=|[-+*/%^=<>(){}\[\],@])
    """,
    re.VERBOSE | re.ASCII,
)
_RANGE: Final = re.compile(
    r"(?P<first>[0-9a-z]+)[ \t\r\n]*(?P<colon>:[ \t\r\n]*(?P<step>[0-9a-z]*))?[ \t\r\n]*", re.ASCII
)
_DURATION: Final = re.compile(r"([0-9]+(ms|[smhdwy]))+", re.ASCII)
_ARITHMETIC: Final = frozenset({"+", "-", "*", "/", "%", "^"})
_COMPARISONS: Final = frozenset({"==", "!=", ">", "<", ">=", "<="})
_SET_OPERATORS: Final = frozenset({"and", "or", "unless"})
_OPERATORS: Final = _ARITHMETIC | _COMPARISONS | _SET_OPERATORS | {"atan2"}
_AGGREGATIONS: Final = frozenset(
    {
        "sum",
        "min",
        "max",
        "avg",
        "group",
        "stddev",
        "stdvar",
        "count",
        "count_values",
        "bottomk",
        "topk",
        "quantile",
        "limitk",
        "limit_ratio",
    }
)
_WORDS: Final = (
    _SET_OPERATORS
    | _AGGREGATIONS
    | {"atan2", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "start", "end"}
)
"""Words of the language. A metric of such a name cannot be told from the word, so it is refused without a selector."""
_READS_MORE: Final = frozenset({"info"})
"""Functions that read series for which the query has no selector."""
_MATCHES: Final = frozenset({"=", "!=", "=~", "!~"})


class UnsupportedQuery(ValueError):
    """The query cannot be limited to a namespace. The text says why and can follow a colon."""


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def limited(query: str, label: str, value: str) -> str:
    """Return `query` with the matcher `label="value"` in each selector.

    Matchers that the query already has stay. Prometheus requires all matchers of one label.

    Args:
        query: The query, with its placeholders filled in.
        label: Name of the label.
        value: Its value, a name of a Kubernetes object.

    Raises:
        UnsupportedQuery: The query has a syntax error, or syntax that this module does not know.
    """
    return _Parser(_tokens(query), f'{label}="{value}"').query()


def _tokens(query: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(query):
        match = _TOKEN.match(query, at)
        if match is None:
            raise UnsupportedQuery(f"{query[at]!r} at character {at + 1} is not supported")
        if match.lastgroup != "space":
            tokens.append(_Token(match.lastgroup or "", match[0], at))
        at = match.end()
        if match[0] == "[":
            range_ = _RANGE.match(query, at)
            if range_ is None or query[range_.end() : range_.end() + 1] != "]" or not _is_range(range_):
                raise UnsupportedQuery(f"the range at character {at} is not a duration, such as [5m] or [1h:1m]")
            colon = f":{range_['step']}" if range_["colon"] else ""
            tokens.append(_Token("range", range_["first"] + colon, at))
            at = range_.end()
    tokens.append(_Token("end", "", len(query)))
    return tokens


def _is_range(match: re.Match[str]) -> bool:
    return all(_DURATION.fullmatch(text) for text in (match["first"], match["step"]) if text)


def _joined(texts: list[str]) -> str:
    joined = ""
    for before, text in zip(["(", *texts], texts, strict=False):
        joined += text if before in {"(", "[", "{"} or text in {")", "[", "]", "}", ","} else f" {text}"
    return joined


class _Parser:
    """A recursive descent parser, which writes what it has parsed.

    Operators need no precedence, because it does not change where selectors are.
    """

    def __init__(self, tokens: list[_Token], matcher: str) -> None:
        self._tokens = tokens
        self._matcher = matcher
        self._next = 0
        self._depth = 0
        self._out: list[str] = []

    def query(self) -> str:
        """Parse the whole query, and return it with the matchers."""
        self._expression()
        if self._token.kind != "end":
            self._refuse()
        return _joined(self._out)

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    @property
    def _following(self) -> str:
        """Return the text of the token after the next one."""
        return self._tokens[min(self._next + 1, len(self._tokens) - 1)].text

    def _word(self) -> str:
        """Return the next token in lower case if it is a name. Words of the language ignore case."""
        return self._token.text.lower() if self._token.kind == "name" else ""

    def _take(self) -> None:
        self._out.append(self._token.text)
        self._next += 1

    def _expect(self, text: str) -> None:
        if self._token.kind != "sign" or self._token.text != text:
            self._refuse()
        self._take()

    def _is(self, text: str) -> bool:
        return self._token.kind == "sign" and self._token.text == text

    def _refuse(self) -> NoReturn:
        if self._token.kind == "end":
            raise UnsupportedQuery("it ends too early")
        raise UnsupportedQuery(f"{self._token.text!r} at character {self._token.at + 1} is not supported")

    def _expression(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UnsupportedQuery(f"it has more than {MAX_DEPTH} levels of parentheses")
        self._operand()
        while (self._token.kind == "sign" and self._token.text in _OPERATORS) or self._word() in _OPERATORS:
            self._take()
            self._modifiers()
            self._operand()
        self._depth -= 1

    def _modifiers(self) -> None:
        if self._word() == "bool":
            self._take()
        if self._word() in {"on", "ignoring"}:
            self._take()
            self._labels()
            if self._word() in {"group_left", "group_right"}:
                self._take()
                if self._is("("):
                    self._labels()

    def _operand(self) -> None:
        while self._is("+") or self._is("-"):
            self._take()
        self._primary()
        while True:
            if self._is("["):
                self._take()
                self._take()
                self._expect("]")
            elif self._word() == "offset":
                self._take()
                self._number()
            elif self._is("@"):
                self._take()
                if self._word() in {"start", "end"}:
                    self._take()
                    self._expect("(")
                    self._expect(")")
                else:
                    self._number()
            else:
                return

    def _number(self) -> None:
        if self._is("-") or self._is("+"):
            self._take()
        if self._token.kind != "number":
            self._refuse()
        self._take()

    def _primary(self) -> None:
        token, word = self._token, self._word()
        if token.kind in {"number", "string"} or word in {"inf", "nan"}:
            self._take()
        elif self._is("("):
            self._take()
            self._expression()
            self._expect(")")
        elif self._is("{"):
            self._matchers()
        elif word in _AGGREGATIONS and (self._following == "(" or self._following.lower() in {"by", "without"}):
            self._aggregation()
        elif token.kind != "name" or word in _WORDS:
            self._refuse()
        elif self._following == "(":
            if word in _READS_MORE or ":" in word:
                self._refuse()
            self._take()
            self._arguments()
        else:
            self._take()
            if self._is("{"):
                self._matchers()
            else:
                self._out[-1] += f"{{{self._matcher}}}"

    def _aggregation(self) -> None:
        self._take()
        grouped = self._grouping()
        self._arguments()
        if not grouped:
            self._grouping()

    def _grouping(self) -> bool:
        if self._word() not in {"by", "without"}:
            return False
        self._take()
        self._labels()
        return True

    def _arguments(self) -> None:
        self._expect("(")
        while not self._is(")"):
            self._expression()
            if not self._is(")"):
                self._expect(",")
        self._take()

    def _labels(self) -> None:
        self._expect("(")
        while not self._is(")"):
            if self._token.kind not in {"name", "string"}:
                self._refuse()
            self._take()
            if not self._is(")"):
                self._expect(",")
        self._take()

    def _matchers(self) -> None:
        self._take()
        self._out.append(self._matcher)
        if not self._is("}"):
            self._out.append(",")
        while not self._is("}"):
            self._matcher_of_query()
            if not self._is("}"):
                self._expect(",")
        self._take()

    def _matcher_of_query(self) -> None:
        """Parse a matcher, or the quoted name of a metric."""
        named = self._token.kind == "string"
        if not named and (self._token.kind != "name" or ":" in self._token.text):
            self._refuse()
        self._take()
        if self._token.kind == "sign" and self._token.text in _MATCHES:
            self._take()
            if self._token.kind != "string":
                self._refuse()
            self._take()
        elif not named:
            self._refuse()
