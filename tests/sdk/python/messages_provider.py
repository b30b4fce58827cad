"""A scripted provider that speaks Anthropic's Messages, and the table that leads a gateway to it. It keeps what it was asked."""

import json

from http_provider import HttpProvider, write_table

MODEL = "claude-of-the-north"


def event(name, **data):
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n"


def message(blocks, stop="end_turn", usage=None):
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": blocks, "stop_reason": stop,
        "stop_sequence": None, "usage": usage or {"input_tokens": 12, "output_tokens": 7},
    }


def stream(blocks, stop="end_turn", usage=None):
    """The events of an answer of these blocks, each as (block to begin with, its deltas)."""
    usage = usage or {"input_tokens": 12, "output_tokens": 7}
    events = [event("message_start", message=message([], None, {**usage, "output_tokens": 1})), event("ping")]
    for index, (block, deltas) in enumerate(blocks):
        events.append(event("content_block_start", index=index, content_block=block))
        events += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(event("content_block_stop", index=index))
    end = {"stop_reason": stop, "stop_sequence": None}
    events.append(event("message_delta", delta=end, usage=usage))
    return [*events, event("message_stop")]


def thinks_and_calls():
    """The blocks of a streamed answer that thinks, speaks and calls a tool."""
    return [
        ({"type": "thinking", "thinking": "", "signature": ""},
         [{"type": "thinking_delta", "thinking": "Use it."}, {"type": "signature_delta", "signature": "c2ln"}]),
        ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "One "}, {"type": "text_delta", "text": "moment."}]),
        ({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
         [{"type": "input_json_delta", "partial_json": ""}, {"type": "input_json_delta", "partial_json": '{"city":"Oslo"}'}]),
    ]


def refusal(kind, said):
    return {"type": "error", "error": {"type": kind, "message": said}, "request_id": "req_1"}


class Provider(HttpProvider):
    """Answers each request by the next script: (status, body) for a whole answer, a list of events for a stream."""

    def __init__(self):
        self.scripts, self.asked = [], []
        super().__init__()

    def answer(self, path, headers, body):
        self.asked.append((path, headers, body))
        return self.scripts.pop(0)

    def says(self, *scripts):
        self.scripts += scripts
        return len(self.asked)

    def body(self, number=-1):
        return json.loads(self.asked[number][2])

    def headers(self, number=-1):
        return self.asked[number][1]

    def table(self, file):
        more = {"dialect": "anthropic-messages", "auth": "x-api-key", "model": "jade", "upstream_model": MODEL, "quirks": ""}
        return write_table(file, ("north", self, more))
