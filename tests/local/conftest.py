"""A real inference server on a tiny model, and a gateway whose only provider it is."""

import sys
from dataclasses import dataclass
from pathlib import Path

import make_gguf
import pytest
from gateway import Process, Serve
from openai import OpenAI

HERE = Path(__file__).parent


@dataclass
class Local:
    server: Process
    serve: Serve
    client: OpenAI

    @property
    def processes(self):
        return [self.serve, self.server]

    @property
    def url(self):
        return self.server.ready["url"]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    model, table = folder / "tiny-random.gguf", folder / "providers.toml"
    model.write_bytes(make_gguf.model())
    server = Process("server", [sys.executable, str(HERE / "server.py"), str(model)], folder)
    try:
        table.write_text((HERE / "providers.toml").read_text().replace("@BASE_URL@", f"{server.ready['url']}/v1"))
        serve = Serve(folder, table)
    except BaseException:
        server.kill()
        raise
    with serve.client() as client:
        yield Local(server, serve, client)
    serve.kill()
    server.kill()
