"""One model over several devices: a process for each, which start, work and end as one. Linux alone."""
