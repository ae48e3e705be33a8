"""What has been tried on which data, counted.

`registry` keeps the file, `lines` its format, `tried` what a run says of itself, `adding` what is
handed in by commands that may not know this room; `listing` groups tries for a reader. Reports read
the file themselves.
"""
