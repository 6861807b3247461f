"""Valid, odd and hostile requests for a signature.

The same seed gives the same requests.
"""

import io
import json
import random
from typing import Any, NamedTuple

import pandas as pd

JSON = "application/json"
NUMBERS = [
    "0", "-0", "-0.0", "1", "-1", "3.0", "2.5", "1e5", "1E-5", "1e-400", "1e400", "-1e400", "4.9e-324", "1e2", "0.1",
    "9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616", "2147483648",
    "-2147483649", "16777217", "123456789012345678901234567890", "3.4028236e38", "1.7976931348623157e308",
]  # fmt: skip
OTHERS = [
    "null", "true", "false", '"1"', '"x"', '""', "NaN", "Infinity", "-Infinity", "[]", "[1]", "{}", '{"a": 1}', "01",
    "+1",
    ".5", "1.", "", "nan", '"\\ud800"', '"2024-01-01T00:00:00"', '"aGVsbG8="', "[[1, 2], [3]]", '"caf\\u00e9"', "'1'",
]  # fmt: skip
KINDS = [
    "application/json; charset=utf-8", "application/json;charset=UTF-8", "application/json; charset=latin-1",
    "application/json; format=pandas-split", "APPLICATION/JSON", "text/csv; charset=utf-8", "text/plain", "text/html",
    "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/octet-stream", "", ";", "json",
    "application/json, text/csv", "application/vnd.apache.arrow.stream",
]  # fmt: skip
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class Request(NamedTuple):
    """One request to /invocations."""

    body: bytes
    kind: str | None = JSON


class Column(NamedTuple):
    """One column of a signature.

    It has a kind, or the texts from which its values are chosen.
    """

    name: str
    kind: str = "double"
    texts: tuple[str, ...] = ()


class Traffic:
    """A generator of requests for one model.

    Args:
        columns: The columns of the signature. For a tensor, one column for each place in its rows.
        seed: Determines all requests.
        tensor: None for columns. For a tensor, its name, or "" where it has none.
        params: Names of the model's params. Each has values in JSON, of which the first two are valid.
        further: Bodies that are valid for this kind of model only.
        share: Share of the valid requests that are taken from `further`.
    """

    def __init__(
        self,
        columns: list[Column],
        seed: str,
        *,
        tensor: str | None = None,
        params: dict[str, list[str]] | None = None,
        further: list[str] | None = None,
        share: float = 0.2,
    ) -> None:
        self.columns = columns
        self.random = random.Random(seed)
        self.tensor = tensor
        self.params = params or {}
        self.further = further or []
        self.share = share

    def requests(self, count: int) -> list[Request]:
        """Return `count` requests: half valid, a third odd, the rest hostile."""
        makes = [self.valid] * 9 + [self.odd] * 6 + [self.hostile] * 3
        return [self.random.choice(makes)() for _ in range(count)]

    def valid(self) -> Request:
        """Return a request that a client sends which knows the model."""
        made = self.random
        if self.further and made.random() < self.share:
            return Request(made.choice(self.further).encode())
        kind = made.random()
        if kind < 0.1 and self.tensor is None:
            return self._csv(self._table())
        if kind < 0.2 and self.tensor is None:
            return self._parquet(self._table())
        form = made.choice(FORMS if self.tensor is None else FORMS[2:])
        return Request(self._object([(form, self._content(form, self._good))]))

    def odd(self) -> Request:
        """Return a request that is nearly correct.

        Its values are wrong, its columns are missing, unknown, duplicated or in another order, or it has two forms.
        """
        made = self.random
        kind = made.random()
        if kind < 0.08:
            return self._strange_csv()
        if kind < 0.14:
            return self._strange_parquet()
        if kind < 0.2:
            return Request(self.valid().body, made.choice(KINDS))
        form = made.choice(FORMS)
        parts = [(form, self._content(form, self._any))]
        while made.random() < 0.12:
            other = made.choice([*FORMS, "params", "prompt", "messages", "input", "signature_name", "other", form])
            parts.append((other, self._content(made.choice(FORMS), self._any)))
        return Request(self._object(parts))

    def hostile(self) -> Request:
        """Return a hostile request.

        Its body is truncated, spliced, deeply nested, not text or not JSON.
        """
        made = self.random
        text = bytearray(self.odd().body)
        kind = made.random()
        if kind < 0.25:
            return Request(bytes(text[: made.randint(0, len(text))]))
        if kind < 0.65:
            for _ in range(made.randint(1, 3)):
                where = made.randint(0, len(text))
                text[where:where] = made.choice(
                    [b",", b"}", b"]", b'"', b"\x00", b"\xff", b"\xef\xbb\xbf", b"\\", b"\x0b"]
                )
            return Request(bytes(text))
        column = self.columns[0].name
        return made.choice(
            [
                Request(b""), Request(b" "), Request(b"null"), Request(b"[]"), Request(b"{}"), Request(b"5"),
                Request(b'"text"'),
                Request(b"\xff\xfe"), Request("{}".encode("utf-16")), Request(b"[" * 100_000),
                Request(b'{"inputs": ' * 5000),
                Request(b'{"inputs": [' + b"9" * 5000 + b"]}"), Request(b"{}", None), Request(bytes(text), None),
                Request(b"PAR1", "application/vnd.apache.parquet"), Request(b"", "application/vnd.apache.parquet"),
                Request(bytes(text), "application/vnd.apache.parquet"), Request(b"", "text/csv"),
                Request(b"\xff\xfe", "text/csv"),
                Request(b'a,"b\n1,2', "text/csv"), Request(b"\x00", "text/csv"), Request(bytes(text), "text/csv"),
                Request(json.dumps({"dataframe_split": {"data": [[1]] * 300}}).encode()),
                Request(json.dumps({"dataframe_split": {"columns": [column] * 50, "data": [[1] * 50]}}).encode()),
                Request(
                    json.dumps({"dataframe_split": {"columns": [column], "data": {"0": [1]}, "index": "x"}}).encode()
                ),
                Request(json.dumps({"dataframe_records": [{column: {column: [None]}}]}).encode()),
                Request(json.dumps({"inputs": {column: "x" * 10_000}}).encode()),
                Request(json.dumps({"instances": {"__proto__": 1, "$ref": 2}}).encode()),
            ]
        )  # fmt: skip

    def _object(self, parts: list[tuple[str, str]]) -> bytes:
        made = self.random
        if (self.params and made.random() < 0.6) or made.random() < 0.06:
            parts.append(("params", self._params()))
            made.shuffle(parts)
        gap = made.choice(["", " ", "", "\n  "])
        return ("{" + f",{gap}".join(f'"{name}":{gap}{content}' for name, content in parts) + "}").encode()

    def _params(self) -> str:
        made = self.random
        if made.random() < 0.1:
            return made.choice(["null", "[]", "5", '"x"', "{}", "[1]"])
        usual = made.random() < 0.7
        given = {
            name: made.choice(values[:2] if usual else values)
            for name, values in self.params.items()
            if made.random() < 0.6
        }
        if made.random() < 0.2:
            given[made.choice(["unknown", *self.params])] = made.choice([*OTHERS[:12], *NUMBERS])
        return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in given.items()) + "}"

    def _good(self, column: Column) -> str:
        made = self.random
        if column.texts:
            return json.dumps(made.choice(column.texts))
        if column.kind == "boolean":
            return made.choice(["true", "false"])
        if column.kind in ("long", "integer"):
            return str(made.randint(-1000, 1000))
        if made.random() < 0.2:
            return str(made.randint(-5, 5))
        return repr(made.choice([made.gauss(0, 1), made.uniform(-1, 1) * 10.0 ** made.randint(-8, 8)]))

    def _any(self, column: Column) -> str:
        made = self.random
        kind = made.random()
        if kind < 0.8:
            return self._good(column)
        return made.choice(NUMBERS) if kind < 0.92 else made.choice(OTHERS)

    def _content(self, form: str, value: Any) -> str:
        made = self.random
        strange = value == self._any
        rows = made.choice([1, 1, 1, 1, 2, 3, 7, 0 if strange else 1])
        columns = self._columns() if strange and made.random() < 0.3 else self.columns
        if self.tensor is not None and not (strange and made.random() < 0.2):
            return self._tensor(rows, columns, value)
        if form == "dataframe_split":
            return self._split(rows, columns, value, strange)
        kind = made.random()
        if form == "dataframe_records" or kind < 0.4:
            return "[" + ", ".join(self._record(columns, value) for _ in range(rows)) + "]"
        if kind < 0.5 and strange:
            return self._matrix(rows, columns, value)
        if kind < 0.6 and strange:
            return self._record(columns, value)
        uneven = strange and made.random() < 0.1
        lists = [
            f"{json.dumps(column.name)}: "
            f"[{', '.join(value(column) for _ in range(rows + (uneven and made.randint(0, 1))))}]"
            for column in columns
        ]
        return "{" + ", ".join(lists) + "}"

    def _tensor(self, rows: int, columns: list[Column], value: Any) -> str:
        matrix = self._matrix(rows, columns, value)
        if self.random.random() < (0.1 if value == self._any else 0):
            return self.random.choice([matrix[1:-1], f"[{matrix}]", f'{{"other": {matrix}}}', "[]", "{}", "[[]]"])
        return f'{{"{self.tensor}": {matrix}}}' if self.tensor and self.random.random() < 0.5 else matrix

    def _split(self, rows: int, columns: list[Column], value: Any, strange: bool) -> str:
        made = self.random
        parts = [
            f'"columns": {json.dumps([column.name for column in columns])}',
            f'"data": {self._matrix(rows, columns, value)}',
        ]
        if strange and made.random() < 0.3:
            index = json.dumps(list(range(rows)))
            parts.append(
                f'"index": '
                f"{made.choice([index, index, '[1]', '[0, 0]', 'null', chr(34) + 'x' + chr(34), '[true]', '[0.5]'])}"
            )
        if strange and made.random() < 0.1:
            parts.append(made.choice(['"data": [[5]]', '"other": 1', '"columns": null', '"index": [7]']))
        if made.random() < 0.2:
            made.shuffle(parts)
        return "{" + ", ".join(parts) + "}"

    def _matrix(self, rows: int, columns: list[Column], value: Any) -> str:
        return "[" + ",".join("[" + ",".join(value(column) for column in columns) + "]" for _ in range(rows)) + "]"

    def _record(self, columns: list[Column], value: Any) -> str:
        return "{" + ", ".join(f"{json.dumps(column.name)}: {value(column)}" for column in columns) + "}"

    def _columns(self) -> list[Column]:
        made = self.random
        columns = list(self.columns)
        for _ in range(made.randint(1, 2)):
            kind = made.random()
            if kind < 0.3:
                made.shuffle(columns)
            elif kind < 0.55 and columns:
                columns.pop(made.randrange(len(columns)))
            elif kind < 0.7 and columns:
                columns.append(made.choice(columns))
            else:
                columns.insert(
                    made.randint(0, len(columns)), Column(made.choice(["extra", "", " a", "é", "0", "\x00", "A" * 300]))
                )
        return columns

    def _table(self) -> pd.DataFrame:
        rows = self.random.choice([1, 1, 2, 5])
        return pd.DataFrame(
            {column.name: [json.loads(self._good(column)) for _ in range(rows)] for column in self.columns}
        )

    def _csv(self, table: pd.DataFrame) -> Request:
        return Request(table.to_csv(index=False).encode(), "text/csv")

    def _strange_csv(self) -> Request:
        made = self.random
        lines = self._table().to_csv(index=False).splitlines()
        where = made.randrange(len(lines))
        lines[where] = made.choice(
            [lines[where] + ",1", "", lines[where].replace(",", ";"), "x" + lines[where], lines[where] + '"', "nan,inf"]
        )
        return Request(made.choice(["\n", "\r\n", "\r"]).join(lines).encode(), "text/csv")

    def _parquet(self, table: pd.DataFrame) -> Request:
        file = io.BytesIO()
        table.to_parquet(file)
        return Request(file.getvalue(), "application/vnd.apache.parquet")

    def _strange_parquet(self) -> Request:
        made = self.random
        table = self._table()
        name = made.choice(list(table.columns))
        kind = made.random()
        if kind < 0.25:
            table = table.drop(columns=name)
        elif kind < 0.5:
            table[name] = table[name].astype(str)
        elif kind < 0.75:
            table[name] = None
        else:
            table = table[table.columns[::-1]].astype({name: "float32"} if table[name].dtype.kind == "f" else {})
        return self._parquet(table)
