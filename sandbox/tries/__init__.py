"""What has been tried on which data, counted.

`registry` keeps the file, `lines` its format, `tried` what a run says of itself; `listing` groups
tries for a reader. Reports read the file themselves.
"""
