"""The only code that touches the machine: a module a subject, listed in `table.PROBES`.

What a probe delivers is declared in `declared`, and yielded from its `measure(machine)`. Probes
share a process of their own, the reader: one that hangs is given up, and the program goes on.
"""
