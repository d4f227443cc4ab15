"""The CNI protocol: what a runtime asks, what it is told, and the verbs that stand between."""
