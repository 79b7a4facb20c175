"""Workers on a Ray cluster: places and supervision are Ray's, how many there are follows the queue of an engine."""
