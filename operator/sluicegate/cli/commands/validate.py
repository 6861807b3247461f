"""`sluicegate validate`: find what would be rejected, without a cluster.

It finds what the API server would reject, and what the operator would reject.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from sluicegate.api import names
from sluicegate.api.resource import Manifest, decode
from sluicegate.cli.validation.documents import Unreadable, files, read
from sluicegate.cli.validation.field_problems import Check, FieldProblem, MissingExtra, is_ours, metadata_of, validate
from sluicegate.cli.validation.warnings import warnings


def run(paths: Sequence[str], extra: Sequence[Check] = ()) -> int:
    """Check files, and print a line for each problem.

    Args:
        paths: The files and directories to check.
        extra: The operator's own rules.

    Returns:
        The exit code: 1 where a file has a problem or cannot be read.
    """
    failed = False
    try:
        expanded = files(paths)
    except Unreadable as error:
        print(error)
        return 1
    for file in expanded:
        try:
            documents = read(file)
        except Unreadable as error:
            print(error)
            failed = True
            continue
        ours = [document for document in documents if is_ours(document)]
        for document in documents:
            if not is_ours(document):
                print(f"{file}: note: {_title(document)} is not a {names.KIND} and was not checked", file=sys.stderr)
        try:
            problems = validate(ours, extra)
        except MissingExtra as error:
            print(f"sluicegate validate: {error}", file=sys.stderr)
            return 1
        for problem in problems:
            print(f"{file}: {problem}")
        for warning in _warnings(ours) if not problems else ():
            print(f"{file}: warning: {warning}", file=sys.stderr)
        failed = failed or bool(problems)
        if not problems:
            print(f"{file}: {len(ours)} valid")
    return 1 if failed else 0


def _warnings(documents: Sequence[Manifest]) -> Iterator[FieldProblem]:
    for document in documents:
        yield from warnings(decode(document))


def _title(document: Manifest) -> str:
    name = metadata_of(document).get("name") or ""
    return f"{document.get('kind') or 'a document without kind'} {name}".strip()
