"""Ready-to-copy first calls with a new key, in three languages."""

import json
from dataclasses import dataclass

PLACEHOLDER = "MODEL"  # where no model is served yet


@dataclass(frozen=True, slots=True)
class Snippet:
    id: str
    title: str
    text: str


CURL = """\
curl {base}/chat/completions \\
  -H "Authorization: Bearer {secret}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": {model}, "messages": [{{"role": "user", "content": "Hello!"}}]}}'"""

PYTHON = """\
# pip install openai
from openai import OpenAI

client = OpenAI(base_url="{base}", api_key="{secret}")

answer = client.chat.completions.create(
    model={model},
    messages=[{{"role": "user", "content": "Hello!"}}],
)
print(answer.choices[0].message.content)"""

JAVASCRIPT = """\
// npm install openai
import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{base}", apiKey: "{secret}"{options} }});

const answer = await client.chat.completions.create({{
  model: {model},
  messages: [{{ role: "user", content: "Hello!" }}],
}});
console.log(answer.choices[0].message.content);"""

# The client refuses to run in browsers, where a secret key would be everybody's.
IN_BROWSERS = ", dangerouslyAllowBrowser: true"


def snippets(
    base: str, secret: str, model: str | None, *, is_publishable: bool = False
) -> list[Snippet]:
    """The calls to `base` (which ends in /v1); of a browser's key only JavaScript."""
    values = {
        "base": base,
        "secret": secret,
        "model": json.dumps(model or PLACEHOLDER),
        "options": IN_BROWSERS if is_publishable else "",
    }
    javascript = Snippet("javascript", "JavaScript", JAVASCRIPT.format(**values))
    if is_publishable:
        return [javascript]
    curl = {**values, "model": values["model"].replace("'", "'\\''")}
    return [
        Snippet("curl", "curl", CURL.format(**curl)),
        Snippet("python", "Python", PYTHON.format(**values)),
        javascript,
    ]
