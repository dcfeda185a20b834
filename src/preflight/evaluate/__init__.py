"""(RuleSet, Facts) to Report: pure, three-valued, unknown never becomes pass or fail."""
