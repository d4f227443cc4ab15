"""Plans as a person reads them: `ip` commands by place, each with its reason.

`chain` says what ADD would do, without doing it; `difference` holds what it did against what is there. The
lab shows the same groups.
"""
