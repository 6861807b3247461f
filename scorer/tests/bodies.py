"""Request bodies as text, and what MLflow makes of them.

The bodies are nearly correct, odd or hostile. They are for the columns `a` and `b`, or for a row of two values.
"""

import random
import warnings
from collections.abc import Callable
from typing import Any

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    from mlflow.exceptions import MlflowException
    from mlflow.models.utils import _enforce_schema
    from mlflow.pyfunc import scoring_server

NUMBERS = [
    "0", "-0", "-0.0", "1", "-1", "2.5", "1e5", "1E-5", "1e-400", "1e400", "-1e400", "4.9e-324",
    "2.2250738585072011e-308",
    "9007199254740992", "9007199254740993", "-9007199254740993", "9223372036854775807", "9223372036854775808",
    "18446744073709551616", "123456789012345678901234567890", "2147483647", "2147483648", "-2147483649", "16777217",
    "0.1", "0.30000000000000004", "1.7976931348623157e308", "3.4028236e38", "1.0", "3.0", "1e2", "01", "+1", ".5", "1.",
]  # fmt: skip
OTHERS = [
    "null",
    "true",
    "false",
    '"1"',
    '"x"',
    "NaN",
    "Infinity",
    "-Infinity",
    "[]",
    "[1]",
    "{}",
    '{"a": 1}',
    "",
    "nan",
]
KEYS = ['"a"', '"b"', '"\\u0061"', '"A"', '"a "', '""', "a"]
FORMS = ["dataframe_split", "dataframe_records", "instances", "inputs", "params", "predictions", "prompt", "columns"]


def value(made: random.Random) -> str:
    kind = made.random()
    if kind < 0.6:
        return made.choice(NUMBERS)
    if kind < 0.85:
        text = repr(made.uniform(-1, 1) * 10.0 ** made.randint(-30, 30))
        return text if made.random() < 0.5 else str(made.randint(-(2**66), 2**66) >> made.randint(0, 60))
    return made.choice(OTHERS) if made.random() < 0.3 else "7"


def record(made: random.Random) -> str:
    keys = ['"a"', '"b"']
    if made.random() < 0.25:
        made.shuffle(keys)
        if made.random() < 0.6:
            keys.insert(made.randint(0, 2), made.choice(KEYS))
        if made.random() < 0.3:
            keys.pop()
    return "{" + ", ".join(f"{key}: {value(made)}" for key in keys) + "}"


def row(made: random.Random) -> str:
    count = 2 if made.random() < 0.9 else made.randint(0, 3)
    return "[" + ",".join(value(made) for _ in range(count)) + "]"


def some(made: random.Random, one: Callable[[random.Random], str]) -> str:
    return "[" + ", ".join(one(made) for _ in range(made.choice([0, 1, 1, 1, 2, 3]))) + "]"


def content(made: random.Random, form: str) -> str:
    kind = made.random()
    if form == "dataframe_split" and kind < 0.9:
        parts = [
            '"columns": '
            f"""{
                made.choice(
                    ["[" + chr(34) + "a" + chr(34) + "," + chr(34) + "b" + chr(34) + "]"] * 8 + ["[]", "null", "[1, 2]"]
                )
            }"""
        ]
        parts.append(f'"data": {some(made, row)}')
        if made.random() < 0.2:
            parts.append(f'"index": {made.choice(["[0]", "[0, 1]", "[1]", "null", "[0.0]", "[true]"])}')
        if made.random() < 0.1:
            parts.append(made.choice(['"data": [[5, 6]]', '"other": 1', '"columns": ["b", "a"]']))
        return "{" + ", ".join(parts) + "}"
    if kind < 0.5:
        return some(made, record)
    if kind < 0.7:
        return some(made, row)
    return "{" + ", ".join(f'"{name}": {some(made, value)}' for name in "ab") + "}"


def body(made: random.Random) -> bytes:
    forms = [made.choice(FORMS[:4])]
    while made.random() < 0.15:
        forms.append(made.choice([*FORMS, forms[0]]))
    text = "{" + ", ".join(f'"{form}": {content(made, form)}' for form in forms) + "}"
    if made.random() < 0.1:
        position = made.randint(0, len(text))
        text = (
            text[:position]
            + made.choice(["", " ", "\n", ",", "}", "]", '"', "\x00", "\x0b", "\ufeff", "\\"])
            + text[position:]
        )
    return text.encode()


def of_mlflow(text: bytes, metadata: Any, schema: Any) -> tuple[Any, Any] | None:
    """Return what MLflow parses, and what it passes to the model.

    Returns:
        Both values, or None where MLflow would reject the request.
    """
    try:
        parsed = scoring_server._parse_json_data(text, metadata, schema)
        return None if parsed.is_unified_llm_input else (parsed.data, _enforce_schema(parsed.data, schema))
    except (MlflowException, ValueError, RecursionError, TypeError, KeyError, OverflowError, AttributeError):
        return None
