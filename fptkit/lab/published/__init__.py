"""Published figures as data, and their comparison with the cells of a study."""

from fptkit.lab.published.compare import Against, Ours, Pair, against_rows, compare
from fptkit.lab.published.kinds import ArmKind, arm_kind
from fptkit.lab.published.load import load_published, published_names
from fptkit.lab.published.records import AbsentTable, Figure, Published, PublishedTable, PublishedTask
from fptkit.lab.published.tables import content_rows, read_in, table_heading, table_notes, table_rows

__all__ = [
    "AbsentTable",
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
    "content_rows",
    "load_published",
    "published_names",
    "read_in",
    "table_heading",
    "table_notes",
    "table_rows",
]
