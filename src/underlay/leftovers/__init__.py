"""What nobody owns any more: found by comparing records, kernel and namespaces, and taken away.

A runtime that lost its state never sends a DEL, and Multus forwards no GC. So `underlay gc` and the agent
look for themselves. `look` reads all facts, `found` decides, `clear` acts; what goes has to be provably
dead, and each line says by what.
"""
