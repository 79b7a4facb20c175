"""A Ray cluster of processes on this machine: a head without places, and nodes with two each.

One line of JSON on stdin asks for something, one on stdout answers: `{"add": true}` adds a node, `{"kill": RAYLET}` kills
the node of that raylet without a word and waits until Ray knows. Every answer tells the nodes. It ends when stdin does.
"""

from __future__ import annotations

import json
import os
import sys
import time

import ray
from ray.cluster_utils import Cluster

PLACES = 2

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # where Ray has its say too


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=PLACES)
    ray.init(address=cluster.address, logging_level="error", log_to_driver=False)
    try:
        tell(cluster)
        for line in sys.stdin:
            request = json.loads(line)
            if "kill" in request:
                kill_node(cluster, request["kill"])
            else:
                cluster.add_node(num_cpus=PLACES)
            tell(cluster)
    finally:
        ray.shutdown()
        cluster.shutdown()


def kill_node(cluster: Cluster, raylet: int) -> None:
    node = next(node for node in cluster.worker_nodes if raylet_of(node) == raylet)
    cluster.remove_node(node, allow_graceful=False)
    while any(known["Alive"] for known in ray.nodes() if known["NodeID"] == node.node_id):
        time.sleep(0.1)


def tell(cluster: Cluster) -> None:
    answer = {
        "address": cluster.address,
        "session": cluster.head_node.get_session_dir_path(),
        "raylets": [raylet_of(node) for node in cluster.worker_nodes],
    }
    print(json.dumps(answer), file=answers, flush=True)


def raylet_of(node: ray._private.node.Node) -> int:
    return node.all_processes["raylet"][0].process.pid


if __name__ == "__main__":
    main()
