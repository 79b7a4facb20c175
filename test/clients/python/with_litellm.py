"""LiteLLM against a server: `with_litellm.py BASE_URL FOLDER`. Puts a picture into the folder, prints what it saw."""

import base64
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the usual one is fetched from elsewhere

import litellm

base_url, folder = sys.argv[1], Path(sys.argv[2])
litellm.suppress_debug_info = True  # it goes to stdout
server = {"model": "openai/demo", "api_base": base_url, "api_key": "any"}

reply = litellm.image_generation(prompt="lighthouse", **server)
(folder / "litellm.png").write_bytes(base64.b64decode(reply.data[0].b64_json))
try:
    litellm.image_generation(prompt="cat", size="1024x1024", **server)
    refusal = None
except litellm.exceptions.BadRequestError as error:
    refusal = {"type": type(error).__name__, "says": error.message}

print(json.dumps({"version": version("litellm"), "usage": reply.usage.model_dump(), "refusal": refusal}))
