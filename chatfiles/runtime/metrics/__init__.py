"""
Metrics for Prometheus (reference/metrics).

Each process counts in memory that it shares with the others of its role, and one process shows the
sum.  `prometheus_client` writes the page.  Its own counters are not used: their mode for several
processes keeps files of every process that has ever run, has no ``process_*``, and takes several
times as long for each count.
"""
