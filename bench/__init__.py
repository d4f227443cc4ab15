"""`make bench`: what a call costs, as a multiple of what the kernel takes for the same work.

Absolute times are those of one machine in one minute. So whatever is to be compared is measured in
turns, in one run, and the ratios are the result. The base is `floor.c`: the netlink messages of the
same ADD or DEL, sent by a C program that decides nothing, checks nothing and writes nothing down.

    stage.py     a node in namespaces, and pods on it
    agent.py     an agent of the benchmark's own
    nics.py      the NICs that pods have before
    subjects.py  the plugins that are measured, and how they are called
    calls.py     one call of a plugin in this process
    replay.py    what a plugin has made, as the lines that floor.c reads
    floor.py     builds floor.c and speaks with it
    programs.py  executables from their start to their exit: floor, agent, in process, peer
    contest.py   who is measured with one pod, and how they take turns
    several.py   a pod with two NICs, by `underlay` and plugin by plugin
    crowd.py     many executables at once
    health.py    what thousands of calls leave of an agent
    cases.py     what is measured
    targets.py   what is promised, and whether this run has kept it
    report.py    the tables and the JSON; table.py, machine.py

It runs in namespaces of its own (`scripts/isolated`) and leaves nothing. No figure of it is a test.
"""
