"""CNI plugins that let a pod on the physical network reach its node, services and the overlay."""

__version__ = "0.1.0"
