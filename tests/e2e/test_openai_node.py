"""Chats with the official openai client for Node; completions are in test_infill.py."""

from node_client import run_suite


def test_the_node_client_passes_its_suite(mesh, model):
    run_suite("openai.test.mjs", mesh, model)
