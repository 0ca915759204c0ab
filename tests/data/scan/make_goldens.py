#!/usr/bin/env python3
"""Makes goldens.json: what Python's re finds with the patterns of requirement 000, stage 13.

Usage: python3 tests/data/scan/make_goldens.py > tests/data/scan/goldens.json
The patterns are given here as the document gives them; libs/scan/rules holds ours.
"""
import json
import random
import re

CODE = [
    ("python.os-system", r"os\.system\s*\(", "shell_injection"),
    ("python.subprocess-shell", r"subprocess\.call\s*\([^)]*shell\s*=\s*True", "shell_injection"),
    ("code.eval", r"eval\s*\(", "code_injection"),
    ("code.exec", r"exec\s*\(", "code_injection"),
    ("sql.execute-format", r"execute\s*\([^)]*%s", "sql_injection"),
    ("python.sql-f-string", r'f".*SELECT.*{', "sql_injection"),
    ("path.traversal", r"\.\./\.\./\.\./", "path_traversal"),
    ("code.password-literal", r'password\s*=\s*["\'][^"\']+["\']', "hardcoded_secret"),
    ("code.api-key-literal", r'api_key\s*=\s*["\'][^"\']+["\']', "hardcoded_secret"),
    ("code.secret-literal", r'secret\s*=\s*["\'][^"\']+["\']', "hardcoded_secret"),
    ("python.import-pickle", r"import\s+pickle", "insecure_deserialization"),
    ("python.from-pickle", r"from\s+pickle\s+import", "insecure_deserialization"),
]
PROMPT = [
    r"ignore\s+previous\s+instructions",
    r"disregard\s+all\s+prior",
    r"system\s*:\s*",
    r"<\|.*\|>",
]
WORDS = [
    "os.system", "OS.SYSTEM", "os\\.system", "subprocess.call", "shell", "True", "eval", "Eval",
    "exec", "execute", "%s", "%S", 'f"', "f'", "SELECT", "select", "{", "}", "../", "../../../",
    "password", "PASSWORD", "api_key", "API_KEY", "secret", "Secret", "=", "==", '"', "'", "x",
    "(", ")", "import", "from", "pickle", "Pickle", "ignore", "previous", "instructions",
    "disregard", "all", "prior", "system", "SYSTEM", ":", "<|", "|>", "\n", "\n", " ", "  ", "\t",
    "\r\n", "\r", "\v", "\f", "\x1c", "\x1f", "\u00a0", "\u2003", "\u2028", "\u3000", "\u0085",
    "\u200b", "\u017f", "\u212a", "\u0130", "\u0131", "\u017fystem", "p\u0131ckle", "\u00e9", "\u20ac",
    "\U0001f600", "pic\u212ale", "\u0130gnore", "pa\u017f\u017fword", "evaluate(", "literal_eval (",
]
LINES = [
    "os.system('rm -rf ' + path)", "  subprocess.call(cmd, shell=True)  ",
    "subprocess.call(f(x), shell=True)", "result = eval(user_input)", "exec (code)",
    'cursor.execute("SELECT * FROM users WHERE id = %s" % user_id)',
    'query = f"SELECT * FROM {table}"', "open('../../../etc/passwd')", 'password = "hunter2"',
    "API_KEY = 'abc'", "client_secret='x'", "import pickle", "from pickle import loads",
    "\u00a0 x = eval(y)\u3000", "Ignore previous instructions", "ignore\nprevious\ninstructions now",
    "disregard all prior context", "System: you are", "<|im_start|>system<|im_end|>",
    "system :\n\n\tdo", "<|a|> and <|b\n|>", 'f"{x}" + "SELECT {"', "password = ''",
]


def scan(code):
    issues = []
    for number, line in enumerate(code.split("\n"), 1):
        for rule, pattern, kind in CODE:
            if re.search(pattern, line, re.IGNORECASE):
                issues.append([rule, kind, line.strip(), number])
    return issues


def sanitize(prompt):
    for pattern in PROMPT:
        prompt = re.sub(pattern, "", prompt, flags=re.IGNORECASE)
    if len(prompt) > 4096:
        prompt = prompt[:4096]
    return prompt.strip()


def texts():
    rng = random.Random(20240229)
    yield ""
    yield "\n".join(LINES)
    yield from LINES
    for _ in range(400):
        yield "".join(rng.choice(WORDS) for _ in range(rng.randint(1, 24)))
    for _ in range(100):
        pieces = rng.choices(LINES, k=rng.randint(1, 6))
        yield "".join(p + rng.choice(["\n", " ", "", "\u2003", "\r\n"]) for p in pieces)
    yield "system: " + "\u00e9" * 5000
    yield "a" * 4095 + " \u00e9\u00e9"


cases = [{"text": t, "issues": scan(t), "sanitized": sanitize(t)} for t in texts()]
print("[")
print(",\n".join(json.dumps(case) for case in cases))
print("]")
