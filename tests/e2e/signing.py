"""Signs requests as docs/identity.md says, without Weft's code. `key`: the answer of POST /v1/keys."""

import hashlib
import hmac


def mac(key: dict, text: str) -> str:
    return hmac.new(key["signing_secret"].encode(), text.encode(), hashlib.sha256).hexdigest()


def v1(key: dict, at: int, body: str) -> dict:
    return {"X-Weft-Key-Id": key["id"], "X-Weft-Timestamp": str(at), "X-Weft-Signature": mac(key, f"{at}:{body}"),
            "Content-Type": "application/json"}


def v2(key: dict, at: int, nonce: str, method: str, target: str, body: str) -> dict:
    digest = hashlib.sha256(body.encode()).hexdigest()
    signature = mac(key, "\n".join(["v2", method, target, key["id"], str(at), nonce, digest]))
    return {"Authorization": f"WEFT-HMAC-SHA256 key={key['id']}, ts={at}, nonce={nonce}, body={digest}, "
                             f"sig={signature}", "Content-Type": "application/json"}
