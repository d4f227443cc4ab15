"""A real container runtime on the lab's nodes: containerd and runc, asked over CRI as a kubelet does."""
