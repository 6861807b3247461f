"""Writes the golden files again. Review the difference before you commit it."""

import tests.golden
import tests.golden.chart

for golden in (tests.golden, tests.golden.chart):
    for case in golden.cases():
        golden.expected(case).parent.mkdir(exist_ok=True)
        golden.expected(case).write_text(golden.rendered(case))
