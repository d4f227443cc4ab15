"""Which networks a pod is attached to: its annotations, and the definitions of networks that they name.

What Multus has made the de-facto standard (Network Plumbing Working Group, "Kubernetes Network Custom
Resource Definition De-facto Standard", version 1.3), read as values. Nothing here calls a plugin.
"""
