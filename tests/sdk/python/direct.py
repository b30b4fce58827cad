"""Scripted hosts of what is no conversation (completions, embeddings, images, speech, transcriptions), and a gateway over them."""

import contextlib

import openai

from gateway import CLIENT_SECONDS, Serve
from messages_provider import Provider

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
context_tokens = {context}
tokenizer = "cl100k"
{more}
"""
PRICE = """
[[backends.prices]]
{price}
source = "invented for tests"
"""


def backend(model, serves, price, more="", context=16_000):
    """A row of the table: the model, what it serves, the lines of its price and others."""
    return lambda name: BACKEND.format(name=name, model=model, serves=serves, context=context, more=more) + PRICE.format(price=price)


@contextlib.contextmanager
def hosts(*names):
    """Providers that answer what they are told to, by name."""
    running = {name: Provider() for name in names}
    yield running
    for host in running.values():
        host.stop()


@contextlib.contextmanager
def serving(folder, hosts, backends):
    """A gateway over these hosts with these backends of each."""
    variables = {name: f"{name.upper()}_API_KEY" for name in backends}
    rows = ['schema = 1\nversion = "test"\n']
    for name, made in backends.items():
        rows.append(PROVIDER.format(name=name, url=hosts[name].url, variable=variables[name]))
        rows += [row(name) for row in made]
    table = folder / "providers.toml"
    table.write_text("".join(rows))
    running = Serve(folder, table, {variable: f"sk-{name}-5f1c7e90aa41" for name, variable in variables.items()})
    yield running
    running.kill()


def client_of(serve):
    """OpenAI's own, which tries once."""
    return openai.OpenAI(base_url=f"{serve.api}/v1", api_key="any", max_retries=0, timeout=CLIENT_SECONDS)
