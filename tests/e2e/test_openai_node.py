"""Chats with the official openai client for Node; completions are in test_infill.py."""

from mesh import wait_until
from node_client import run_suite


def test_the_node_client_passes_its_suite(mesh, model):
    run_suite("openai.test.mjs", mesh, model)
    # What it aborted, left or gave up on runs no longer.
    wait_until(lambda: mesh.worker_gauge("weft_num_requests_running") == 0, 10)
