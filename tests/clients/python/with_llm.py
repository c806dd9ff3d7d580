"""llm, the command and the library, with models of extra-openai-models.yaml."""

import os
import subprocess
import sys
from pathlib import Path

from scenarios import CONFIG, read, read_first, run, until_refused

FOLDER = Path(CONFIG["folder"])
os.environ["LLM_USER_PATH"] = str(FOLDER)
NAMES = {"jeton": CONFIG["model"], "none": "@jeton/none", "small": CONFIG["small_model"]}


def _write_models() -> None:
    lines = [
        f"- model_id: {model_id}\n  model_name: '{name}'\n  api_base: {CONFIG['base_url']}\n  api_key_name: jeton\n"
        for model_id, name in NAMES.items()
    ]
    (FOLDER / "extra-openai-models.yaml").write_text("".join(lines), "utf-8")


_write_models()
# Reads the folder as it is imported.
import llm  # noqa: E402
import openai  # noqa: E402

# llm has no setting for it, and openai would wait for as long as Retry-After says.
openai.OpenAI.__init__.__kwdefaults__["max_retries"] = 0


def ask(
    prompt: str = CONFIG["prompt"],
    *,
    model: str = "jeton",
    token: str = CONFIG["token"],
    stream: bool = False,
    **options,
):
    options = {"temperature": 0, "max_tokens": CONFIG.get("max_tokens", 64)} | options
    return llm.get_model(model).prompt(prompt, key=token, stream=stream, **options)


COMMAND = Path(sys.executable).with_name("llm")


def command() -> dict:
    arguments = ["-m", "jeton", "--key", CONFIG["token"], "-o", "temperature", "0", "--no-log", CONFIG["prompt"]]
    ran = subprocess.run([COMMAND, *arguments], capture_output=True, text=True)
    return {"text": ran.stdout.removesuffix("\n"), "status": ran.returncode}


def command_first_piece() -> dict:
    """What the command prints first, while its stream goes on."""
    arguments = ["-m", "jeton", "--key", CONFIG["token"], "--no-log", CONFIG["slow_prompt"]]
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE) as process:
        seen = read_first(os.read(process.stdout.fileno(), 4096).decode() for _ in [process])
        process.kill()
    return seen


def command_refused() -> dict:
    arguments = ["-m", "jeton", "--key", "wrong", "--no-log", "hello"]
    ran = subprocess.run([COMMAND, *arguments], capture_output=True, text=True)
    return {"status": ran.returncode, "message": ran.stderr}


def refused(**fields) -> dict:
    ask(**fields).text()
    return {}


run(
    {
        "plain": lambda: {"text": ask().text()},
        "stream": lambda: read(ask(stream=True)),
        "first_piece": lambda: read_first(iter(ask(CONFIG["slow_prompt"], stream=True))),
        "command": command,
        "command_first_piece": command_first_piece,
        "command_refused": command_refused,
        "bad_token": lambda: refused(token="wrong"),
        "bad_field": lambda: refused(top_p=0.5, frequency_penalty=2, temperature=2, max_tokens=0),
        "unknown_model": lambda: refused(model="none"),
        "long_prompt": lambda: refused(prompt=CONFIG["long_prompt"], model="small", max_tokens=4),
        "too_often": lambda: until_refused(lambda: ask(token=CONFIG["limited_token"]).text()),
    }
)
