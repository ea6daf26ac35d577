"""Published figures as data, and what of a study may be put beside them."""

from fptkit.published.compare import Against, Ours, Pair, against_rows, compare
from fptkit.published.kinds import ArmKind, arm_kind
from fptkit.published.load import load_published, published_names
from fptkit.published.records import Figure, Published, PublishedTable, PublishedTask
from fptkit.published.tables import table_heading, table_notes, table_rows

__all__ = [
    "Against",
    "ArmKind",
    "Figure",
    "Ours",
    "Pair",
    "Published",
    "PublishedTable",
    "PublishedTask",
    "against_rows",
    "arm_kind",
    "compare",
    "load_published",
    "published_names",
    "table_heading",
    "table_notes",
    "table_rows",
]
