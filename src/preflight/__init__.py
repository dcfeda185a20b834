"""preflight tells whether a machine can run a container stack: measure, judge, show.

    rules.yaml ─▶ rules ──▶ RuleSet ─┐
    machine ────▶ facts ──▶ Facts ───┴─▶ evaluate ─▶ Report ─▶ render ─▶ str
                                                        └──▶ verdict ─▶ exit code

model     plain frozen data, standard library only
facts     the only code that touches the machine, each behind a deadline
rules     YAML to RuleSet, every problem with its line
evaluate  pure judging; render: pure showing; snapshot: facts on disk
check     the whole program on one screen; cli: options, streams, exit codes
"""

__version__ = "1.0.0"
