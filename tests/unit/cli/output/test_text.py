"""Tables: aligned columns that fit a terminal."""

from sluicegate.cli.output.text import Piece, Table, plain


def _table() -> Table:
    table = Table(["NAME", "NODE", "MESSAGE"], spare=["NODE"])
    table.add(["churn", "node-1", "a long message"], [Piece("   below")])
    table.add(["b", None, "short"])
    return table


def test_columns_are_aligned_and_empty_cells_are_dashes() -> None:
    assert plain(_table().render()) == (
        "NAME    NODE     MESSAGE\nchurn   node-1   a long message\n   below\nb       -        short\n"
    )


def test_narrow_table_leaves_out_spare_columns_first() -> None:
    assert plain(_table().render(25)) == "NAME    MESSAGE\nchurn   a long message\n   below\nb       short\n"


def test_table_that_is_still_too_wide_is_wrapped() -> None:
    assert plain(_table().render(18)).splitlines()[1:3] == ["churn   a long", "        message"]


def test_column_can_be_removed() -> None:
    assert plain(_table().without("MESSAGE").render()) == "NAME    NODE\nchurn   node-1\n   below\nb       -\n"
