"""A cluster on one machine, in network namespaces: for `underlay lab` and for tests with real packets."""
