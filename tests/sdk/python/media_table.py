"""A providers table of scripted hosts that serve images, speech or transcriptions."""

PROVIDER = """
[providers.{name}]
name = "{name}"
base_url = "{url}"
dialect = "openai-chat"
api_key_env = "{variable}"
owner = "{name}"
jurisdiction = "US"
region = "US"
currency = "USD"
source = "invented for tests"
"""
BACKEND = """
[[backends]]
provider = "{name}"
model = "{model}"
upstream_model = "{name}-{model}"
serves = "{serves}"
context_tokens = 16_000
tokenizer = "unknown"
{more}
{prices}
"""


def table(file, hosts):
    """Of each host its name, the host, and its backends: model, what it serves, further lines, its price rows."""
    rows = []
    for name, host, backends in hosts:
        rows.append(PROVIDER.format(name=name, url=host.url, variable=f"{name.upper()}_API_KEY"))
        rows += [BACKEND.format(name=name, model=model, serves=serves, more=more, prices=prices) for model, serves, more, prices in backends]
    file.write_text('schema = 1\nversion = "test"\n' + "".join(rows))
    return file
