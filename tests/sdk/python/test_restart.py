"""The gateway ends in an orderly way under a client's eyes, and comes back on its old books."""

import openai
import pytest

from gateway import Sandbox, Serve, eventually, long_answer, user

LENGTH = 150


@pytest.fixture
def sandbox(tmp_path):
    running = Sandbox(tmp_path)
    yield running
    running.kill()


@pytest.fixture
def slow(sandbox):
    sandbox.order("slow", token_ms=5)


@pytest.fixture
def serve(tmp_path, sandbox):
    """Starts gateways one after another, all on the same books."""
    started = []

    def start():
        started.append(Serve(tmp_path, sandbox.table))
        return started[-1]

    yield start
    for gateway in started:
        gateway.kill()


def ask(gateway):
    with gateway.client() as client:
        raw = client.chat.completions.with_raw_response.create(model="auto", messages=user("hello"))
    assert raw.parse().choices[0].message.content
    return raw.headers["x-tokenbroker-request-id"]


def test_it_comes_back_on_its_old_books(serve):
    first = serve()
    ids = [ask(first)]
    first.terminate()
    assert first.wait() == 0
    with first.client() as client, pytest.raises(openai.APIConnectionError):
        client.models.list()
    second = serve()
    ids += [ask(second), ask(second)]
    # Identifiers are ordered by time, across the restart too.
    assert ids == sorted(set(ids))


def test_it_comes_back_after_a_kill(serve):
    first = serve()
    ask(first)
    first.kill()
    assert ask(serve())


def test_an_open_stream_is_finished_before_it_ends(serve, slow):
    gateway = serve()
    with gateway.client() as client:
        stream = client.chat.completions.create(model="auto", messages=user("A story."), stream=True, **long_answer(LENGTH))
        next(stream)
        gateway.terminate()
        endings = [chunk.choices[0].finish_reason for chunk in stream]
    assert endings[-1] in ("stop", "length")
    assert gateway.wait() == 0


def test_no_new_request_is_taken_while_it_drains(serve, slow):
    gateway = serve()
    with gateway.client() as open_client, gateway.client() as late:
        stream = open_client.chat.completions.create(model="auto", messages=user("A story."), stream=True, **long_answer(LENGTH))
        next(stream)
        gateway.terminate()
        eventually(lambda: refused(late), 5, "a refusal")
        stream.close()
    assert gateway.wait() == 0


def refused(client):
    try:
        client.models.list()
    except (openai.APIConnectionError, openai.InternalServerError):
        return True
    return False
