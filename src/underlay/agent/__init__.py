"""The agent: answers the calls that the shim passes on, in a process that need not be started.

    shim ── connects ──► agent.sock ──► a thread: read the request, run the verb, write the reply
         ── request and namespaces ──►
         ◄── exit code, stdout, stderr ──

    service.py     all of it together, from the start to the last signal
    place.py       where the socket is, and that one agent alone has it
    workers.py     the threads that answer
    calls.py       one connection, from the peer's uid to the reply
    wire.py        what goes over it
    turns.py       which of the calls that run computes
    node.py        where the call acts: in the namespaces whose descriptors came with it
    hosts.py       what is remembered of a host's namespace from call to call
    background.py  threads for what no call need wait for
    notify.py      what systemd is told
    metrics.py     what Prometheus is told, where that is wanted

What it does not know it finds: records and the kernel are the state, so it may be killed at any moment.
"""
