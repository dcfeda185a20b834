"""The only code that touches the machine: one module for each subject, listed in `table.PROBES`.

The facts are declared in `catalogue`; a probe's `measure_…` yields them. Probes run in a
process of their own, the worker (`collect`): the program goes on without one that hangs.
"""
