"""Which values of a parametrized test wait for the slow drills: those whose like are among the others."""

import pytest


def drill(*values):
    """Values to parametrize by, for the slow drills."""
    return pytest.param(*values, marks=pytest.mark.slow)


def rarely(rows, *ids):
    """Parameters, of which those with these ids, or names, are for the slow drills."""
    rows = [row if hasattr(row, "values") else pytest.param(row, id=str(row)) for row in rows]
    assert set(ids) <= {row.id for row in rows}
    return [pytest.param(*row.values, id=row.id, marks=pytest.mark.slow if row.id in ids else ()) for row in rows]
