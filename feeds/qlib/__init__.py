"""`qlib:`: a directory in Qlib's own format, read through pyqlib.

Inside this package `import qlib` still finds pyqlib, and nothing here imports it but
`feeds/qlib/process.py`, which runs in a process of its own.
"""

from .load import load_qlib, zone_of

__all__ = ["load_qlib", "zone_of"]
