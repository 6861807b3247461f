"""Writes the golden files again; look at the difference before committing it."""

from tests.golden import cases, expected, rendered

for case in cases():
    expected(case).parent.mkdir(exist_ok=True)
    expected(case).write_text(rendered(case))
