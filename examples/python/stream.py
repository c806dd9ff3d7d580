"""Streams an answer with Python's standard library: prints each piece of text as it comes."""

import json
import os
import sys
import urllib.error
import urllib.request

MODEL = "@cf/meta/llama-2-7b-chat-int8"
URL = os.environ.get("JETON_URL", "http://127.0.0.1:8000")
prompt = " ".join(sys.argv[1:]) or "where is new york?"

request = urllib.request.Request(
    f"{URL}/client/v4/accounts/local/ai/run/{MODEL}",
    headers={"Authorization": f"Bearer {os.environ['JETON_TOKEN']}", "Content-Type": "application/json"},
    data=json.dumps({"prompt": prompt, "stream": True}).encode(),
)
is_whole = False
try:
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            data = line.decode().removeprefix("data: ").strip()
            if data == "[DONE]":
                is_whole = True
            elif data.startswith("{"):
                print(json.loads(data)["response"], end="", flush=True)
except urllib.error.HTTPError as error:
    sys.exit(f"{error}: {error.read().decode()}")
print()
if not is_whole:
    sys.exit("The answer broke off.")
