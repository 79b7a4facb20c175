"""openai of PyPI against a server: `with_openai.py BASE_URL FOLDER`. Puts pictures there, prints what it saw."""

import base64
import json
import sys
from pathlib import Path

import openai

base_url, folder = sys.argv[1], Path(sys.argv[2])
client = openai.OpenAI(base_url=base_url, api_key="any", max_retries=0)

images = client.images.generate(model="demo", prompt="lighthouse", n=2, extra_body={"seed": 7})
events = []
stream = client.images.generate(
    model="demo", prompt="lighthouse", stream=True, partial_images=2, extra_body={"zipar": {"window": 4, "seed": 7}}
)
for event in stream:
    events.append(event.type)
    name = f"preview-{event.partial_image_index}" if event.type.endswith("partial_image") else "whole"
    (folder / f"{name}.png").write_bytes(base64.b64decode(event.b64_json))
try:
    client.images.generate(model="demo", prompt="cat", size="1024x1024")
    refusal = None
except openai.APIStatusError as error:
    refusal = {"type": type(error).__name__, "param": error.param, "says": error.message}

print(
    json.dumps(
        {
            "version": openai.__version__,
            "models": [model.id for model in client.models.list()],
            "images": len(images.data or []),
            "usage": images.usage.to_dict() if images.usage else None,
            "events": events,
            "refusal": refusal,
        }
    )
)
