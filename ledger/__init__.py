"""A transparency log in files, for one writer and for anyone who wants to check it.

The package stands alone: the standard library and ``cryptography``. Its format is C2SP tlog-tiles with
signed notes, checkpoints and cosignatures; its leaves are hash-chained canonical JSON.
"""
