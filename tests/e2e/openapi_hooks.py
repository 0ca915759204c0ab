"""Hooks of the schemathesis runs in test_openapi.py: short generations of the model that is loaded.

What is changed keeps a valid request valid and an invalid one invalid: a whole number of tokens stays one, only smaller.
"""

import os

import schemathesis

MODEL = os.environ["WEFT_OPENAPI_MODEL"]
SHORT = {"max_tokens": 2, "max_completion_tokens": 2, "n_predict": 2, "min_tokens": 2}
FEW = {"n": 2, "best_of": 2, "n_cmpl": 2}
WRITES = {"/v1/chat/completions", "/v1/completions", "/infill", "/generate", "/predict"}


def whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if case.path == "/v1/keys" and isinstance(body, dict) and whole(body.get("expires_at")):
        body["expires_at"] = min(body["expires_at"], 0)  # the future is nothing that a schema knows
    if case.path not in WRITES or not isinstance(body, dict):
        return
    for name, most in {**SHORT, **FEW}.items():
        if whole(body.get(name)) and body[name] > most:
            body[name] = most
    if case.path == "/infill":
        body.setdefault("n_predict", 2)
        if body["n_predict"] == -1:
            body["n_predict"] = 2
    elif case.path != "/predict":
        body.setdefault("max_tokens", 2)
    name = "model_id" if case.path == "/predict" else "model"
    if isinstance(body.get(name), str) and len(body[name]) <= 256:
        body[name] = MODEL
