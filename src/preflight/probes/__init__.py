"""The only code that touches the machine: a module a subject, listed in `table.PROBES`.

A probe declares its FACTS and yields them from `measure(options)`. Probes of one reader share a
process of their own, so that one that hangs is given up and the program goes on.
"""
