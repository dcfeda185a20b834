"""YAML to RuleSet: every problem at once, each with its place. A rule file can't run anything."""
