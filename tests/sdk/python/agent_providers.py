"""Providers of every shape for agents: each plays a model that wants two tools at once, then another, then answers.

They keep nothing between requests: what the model does next follows from the history that the request tells, as at a real
provider. That history is checked as strictly as the strictest of their kind does (dialects.md 5 and 6, providers.md 3): calls come
back as they were made, each with its result, thoughts with the proof that was given. What is wrong is refused and kept in `wrong`.

As a program it writes the table that its argument names, for tests in another language. Its first line says what these need.
"""

import json
import signal
import sys
from itertools import zip_longest
from pathlib import Path

from http_provider import KEY, HttpProvider, write_table
from messages_provider import message, refusal, stream

# The cities that each round asks for.
ROUNDS = (("Oslo", "奥斯陆"), ("Hamburg",))
TOOL, SYSTEM, QUESTION = "get_weather", "You know the weather.", "How warm is it in Oslo and in Hamburg?"
# What an assistant's turn proves of its thoughts: as they were given, by a word that stands for a lost proof, or not at all.
GIVEN, FILLED, NONE = "given", "filled", "none"


def weather(city):
    """What the tool answers."""
    return f"{10 + len(city)} degrees in {city}"


def answer(results):
    return f"Here it is: {'; '.join(results)}."


# What the model says at last.
ANSWER = answer([weather(city) for cities in ROUNDS for city in cities])


# What is asked without tools, and what a schema of a city and its degrees is filled in with.
REFUSED, ENDLESS, FILLED_IN = "Refuse this.", "Go on and on.", '{"city": "Oslo", "degrees": 4}'


def usage(number):
    """(input, of it from a cache, output, of it thoughts) of the answer to the request of this number."""
    return 100 * (number + 1), 40 * number, 20 + number, 5


def told():
    """(input, output) of each request of a whole loop."""
    return [(usage(number)[0], usage(number)[2]) for number in range(len(ROUNDS) + 1)]


def thought(number):
    return f"Round {number}: I need the weather."


class Wrong(Exception):
    """A request that a provider refuses."""


def need(truth, what):
    if not truth:
        raise Wrong(what)


def pieces(text):
    """A text as it is streamed: also in the middle of words."""
    return [text[at : at + 7] for at in range(0, len(text), 7)]


class AgentProvider(HttpProvider):
    """What all shapes have in common. `read` of each tells what a request says in its words, `whole` and `streamed` answer so."""

    def __init__(self):
        self.wrong, self.asked, self.proofs = [], 0, []
        super().__init__()

    def log(self):
        """Since it was last asked."""
        log = {"wrong": self.wrong, "asked": self.asked, "proofs": self.proofs, "cut": self.cut}
        self.wrong, self.asked, self.proofs, self.cut = [], 0, [], False
        return log

    def answer(self, path, headers, body):
        self.asked += 1
        request = json.loads(body)
        if not request.get("tools"):
            return self.answer_plainly(*self.read_plain(path, request))
        try:
            steps, is_streamed, thinks = self.read(path, headers, request)
            self.check(steps)
        except (Wrong, KeyError, IndexError, TypeError, ValueError, AttributeError) as problem:
            self.wrong.append(f"{type(problem).__name__}: {problem} in {body.decode()}")
            return 400, self.refusal(str(problem))
        self.proofs = [proof for _, _, proof in steps]
        number = len(steps)
        tell = self.streamed if is_streamed else self.whole
        results = [text for _, answers, _ in steps for _, text in answers]
        text = answer(results) if number == len(ROUNDS) else ""
        cities = ROUNDS[number] if number < len(ROUNDS) else ()
        return tell(number, thought(number) if thinks else "", text, [(self.call_id(number, place), city) for place, city in enumerate(cities)])

    def answer_plainly(self, text, schema, is_streamed):
        """Without tools it says hello, fills in a schema, refuses what it is told to, or goes on until nobody listens."""
        if text == REFUSED:
            return 400, self.refusal("I refuse.")
        if text == ENDLESS:
            return self.endless()
        return (self.streamed if is_streamed else self.whole)(0, "", FILLED_IN if schema else "Hello.", [])

    def endless(self):
        for event in self.streamed(0, "", "and on ", []):
            yield event
            while "and on " in event:
                yield event

    def check(self, steps):
        """`steps`: the calls as (id, name, arguments), the results as (id, text) and the proof, of each round so far."""
        need(len(steps) <= len(ROUNDS), f"{len(steps)} rounds of tools")
        for number, (calls, results, _) in enumerate(steps):
            expected = [(self.call_id(number, place), TOOL, {"city": city}) for place, city in enumerate(ROUNDS[number])]
            need(calls == expected, f"calls {calls} instead of {expected}")
            answered = [(self.call_id(number, place), weather(city)) for place, city in enumerate(ROUNDS[number])]
            need(results == answered, f"results {results} instead of {answered}")

    def call_id(self, number, place):
        return f"{self.prefix}_{number}_{place}"


def check_schema(schema):
    need(schema["type"].lower() == "object" and schema["required"] == ["city"], f"schema {schema}")
    need(schema["properties"]["city"]["type"].lower() == "string", f"city in {schema}")


def text_of(content):
    return content if isinstance(content, str) else "".join(part["text"] for part in content or [])


class ChatProvider(AgentProvider):
    """Chat completions of a model that does not think."""

    prefix, row = "call", {"dialect": "openai-chat", "auth": "bearer", "quirks": ""}
    thinks = False

    def refusal(self, said):
        return {"error": {"message": said, "type": "invalid_request_error", "param": None, "code": None}}

    def read(self, path, headers, request):
        need(path == "/v1/chat/completions" and headers["authorization"] == f"Bearer {KEY}", f"path {path} or key")
        (tool,) = request["tools"]
        need(tool["type"] == "function" and tool["function"]["name"] == TOOL, f"tool {tool}")
        check_schema(tool["function"]["parameters"])
        is_streamed = request.get("stream", False)
        need(not is_streamed or request["stream_options"]["include_usage"], "a stream without usage")
        said = request["messages"]
        need([message["role"] for message in said[:2]] == ["system", "user"], "no system message and question first")
        need((text_of(said[0]["content"]), text_of(said[1]["content"])) == (SYSTEM, QUESTION), "another system message or question")
        thinks = self.thinks and request.get("thinking") != {"type": "disabled"}
        return list(self.steps(said[2:], thinks)), is_streamed, thinks

    def read_plain(self, path, request):
        return text_of(request["messages"][-1]["content"]), request.get("response_format"), request.get("stream", False)

    def steps(self, said, thinks):
        at = 0
        while at < len(said):
            need(said[at]["role"] == "assistant", f"a message of {said[at]['role']} instead of the assistant")
            turn, results = said[at], []
            calls = [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in turn["tool_calls"]]
            while (at := at + 1) < len(said) and said[at]["role"] == "tool":
                results.append((said[at]["tool_call_id"], text_of(said[at]["content"])))
            need(not text_of(turn.get("content")), "a text beside the calls")
            yield calls, results, self.proof(turn, thinks)

    def proof(self, turn, _):
        need("reasoning_content" not in turn and "reasoning_details" not in turn, "thoughts that it does not know")
        return NONE

    def body(self, number, kind, choice):
        tokens, cached, output, thoughts = usage(number)
        details = {"prompt_tokens_details": {"cached_tokens": cached}, "completion_tokens_details": {"reasoning_tokens": thoughts}}
        report = {"prompt_tokens": tokens, "completion_tokens": output, "total_tokens": tokens + output, **details}
        return {"id": f"chatcmpl-{number}", "object": kind, "created": 1, "model": "up", "choices": choice, "usage": report}

    def whole(self, number, thinks, text, calls):
        made = [{"id": key, "type": "function", "function": {"name": TOOL, "arguments": arguments(city)}} for key, city in calls]
        said = {"role": "assistant", "content": text or None, **({"reasoning_content": thinks} if thinks else {}), **({"tool_calls": made} if made else {})}
        finish = "tool_calls" if made else "stop"
        return 200, self.body(number, "chat.completion", [{"index": 0, "message": said, "finish_reason": finish, "logprobs": None}])

    def streamed(self, number, thinks, text, calls):
        deltas = [{"role": "assistant", "content": None if calls else ""}]
        deltas += [{"reasoning_content": piece} for piece in pieces(thinks)] + [{"content": piece} for piece in pieces(text)]
        told = []
        for index, (key, city) in enumerate(calls):
            begin = {"index": index, "id": key, "type": "function", "function": {"name": TOOL, "arguments": ""}}
            told.append([begin, *({"index": index, "function": {"arguments": piece}} for piece in pieces(arguments(city)))])
        deltas += [{"tool_calls": [piece]} for piece in self.in_order(told)]
        choices = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
        choices.append([{"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}])
        chunks = [{**self.body(number, "chat.completion.chunk", choice), "usage": None} for choice in choices]
        chunks.append(self.body(number, "chat.completion.chunk", []))
        return [*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n"]


    def in_order(self, told):
        """The pieces of several calls."""
        return [piece for call in told for piece in call]


def arguments(city):
    return json.dumps({"city": city}, ensure_ascii=False)


class InterleavingProvider(ChatProvider):
    """The same, but it tells all calls at once, a piece of this and a piece of that."""

    def in_order(self, told):
        return [piece for pieces in zip_longest(*told) for piece in pieces if piece]


class ReasoningProvider(ChatProvider):
    """Chat completions of a model that thinks, and whose thoughts have to come back with its calls; an empty one is taken for one
    that was lost."""

    row = {**ChatProvider.row, "quirks": 'thinking_switch = "thinking", reasoning_returned = true'}
    thinks = True

    def proof(self, turn, thinks):
        if not thinks:
            return NONE
        need("reasoning_content" in turn, "The `reasoning_content` in the thinking mode must be passed back to the API.")
        if not turn["reasoning_content"]:
            return FILLED
        number = int(turn["tool_calls"][0]["id"].split("_")[1])
        need(turn["reasoning_content"] == thought(number), f"another thought: {turn['reasoning_content']}")
        return GIVEN


class MessagesProvider(AgentProvider):
    """Messages of a model that thinks when it is told to, and signs that."""

    prefix, row = "toolu", {"dialect": "anthropic-messages", "auth": "x-api-key", "quirks": ""}

    def refusal(self, said):
        return refusal("invalid_request_error", said)

    def read(self, path, headers, request):
        need(path == "/v1/messages" and headers["x-api-key"] == KEY and headers["anthropic-version"], f"path {path}, key or version")
        (tool,) = request["tools"]
        need(tool["name"] == TOOL, f"tool {tool}")
        check_schema(tool["input_schema"])
        need(text_of(request["system"]) == SYSTEM, f"system {request['system']}")
        thinking = request.get("thinking", {}).get("type", "disabled")
        need(thinking in ("enabled", "adaptive", "disabled"), f"thinking {thinking}")
        need(thinking != "enabled" or request["max_tokens"] > request["thinking"]["budget_tokens"] >= 1024, "a budget beyond the bound")
        first, *said = request["messages"]
        need((first["role"], text_of(first["content"])) == ("user", QUESTION), f"question {first}")
        need([turn["role"] for turn in said] == ["assistant", "user"] * (len(said) // 2), "turns that do not alternate")
        thinks = thinking != "disabled"
        steps = [self.step(number, said[2 * number]["content"], said[2 * number + 1]["content"]) for number in range(len(said) // 2)]
        # The turn that is being answered has to begin with what was thought in it.
        need(not thinks or not steps or steps[-1][2] == GIVEN, "Expected `thinking` or `redacted_thinking`, but found `tool_use`.")
        return steps, request.get("stream", False), thinks

    def read_plain(self, path, request):
        return text_of(request["messages"][-1]["content"]), request.get("output_config", {}).get("format"), request.get("stream", False)

    def step(self, number, said, answered):
        proof = NONE
        if said[0]["type"] == "thinking":
            need(said[0]["signature"] == self.signature(number), f"Invalid `signature` in `thinking` block: {said[0]}")
            need(said[0]["thinking"] == thought(number), f"another thought: {said[0]}")
            proof, said = GIVEN, said[1:]
        calls = [(block["id"], block["name"], block["input"]) for block in said if block["type"] == "tool_use"]
        need(len(calls) == len(said), f"more than calls: {said}")
        need(all(block["type"] == "tool_result" for block in answered), f"more than results: {answered}")
        return calls, [(block["tool_use_id"], text_of(block["content"])) for block in answered], proof

    def signature(self, number):
        return f"c2lnbmF0dXJlIG9m+/{number}=="

    def report(self, number):
        tokens, cached, output, _ = usage(number)
        return {"input_tokens": tokens - cached, "cache_read_input_tokens": cached, "cache_creation_input_tokens": 0, "output_tokens": output}

    def whole(self, number, thinks, text, calls):
        blocks = [{"type": "thinking", "thinking": thinks, "signature": self.signature(number)}] if thinks else []
        blocks += [{"type": "text", "text": text}] if text else []
        blocks += [{"type": "tool_use", "id": key, "name": TOOL, "input": {"city": city}} for key, city in calls]
        return 200, message(blocks, "tool_use" if calls else "end_turn", self.report(number))

    def streamed(self, number, thinks, text, calls):
        blocks = []
        if thinks:
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(thinks)]
            deltas.append({"type": "signature_delta", "signature": self.signature(number)})
            blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
        if text:
            blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces(text)]))
        for key, city in calls:
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces(arguments(city)))]
            blocks.append(({"type": "tool_use", "id": key, "name": TOOL, "input": {}}, deltas))
        return stream(blocks, "tool_use" if calls else "end_turn", self.report(number))


class GeminiProvider(AgentProvider):
    """generateContent of a model that always thinks, signs the first call of each answer and wants that back, or the word that
    stands for one that was lost. Its calls have no ids: results are matched by name and order."""

    prefix, row = "place", {"dialect": "gemini-generate-content", "auth": "x-goog-api-key", "quirks": ""}
    LOST = "skip_thought_signature_validator"

    def refusal(self, said):
        return {"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}}

    def read(self, path, headers, request):
        path, _, query = path.partition("?")
        model, _, method = path.removeprefix("/v1/models/").partition(":")
        is_streamed = method == "streamGenerateContent"
        need((model, query) == ("up", "alt=sse" if is_streamed else "") and (is_streamed or method == "generateContent"), f"path {path}?{query}")
        need(headers["x-goog-api-key"] == KEY, "key")
        (declared,) = request["tools"][0]["functionDeclarations"]
        need(declared["name"] == TOOL, f"tool {declared}")
        check_schema(declared.get("parametersJsonSchema") or declared["parameters"])
        need("".join(part["text"] for part in request["systemInstruction"]["parts"]) == SYSTEM, "another instruction")
        first, *said = request["contents"]
        need((first["role"], [part["text"] for part in first["parts"]]) == ("user", [QUESTION]), f"question {first}")
        need([turn["role"] for turn in said] == ["model", "user"] * (len(said) // 2), "contents that do not alternate")
        steps = [self.step(number, said[2 * number]["parts"], said[2 * number + 1]["parts"]) for number in range(len(said) // 2)]
        return steps, is_streamed, True

    def read_plain(self, path, request):
        schema = request.get("generationConfig", {}).get("responseJsonSchema")
        return request["contents"][-1]["parts"][0]["text"], schema, "streamGenerateContent" in path

    def step(self, number, said, answered):
        made = [part for part in said if "functionCall" in part]
        need(all("functionCall" in part or part.get("thought") for part in said), f"more than calls: {said}")
        signed = made[0].get("thoughtSignature")
        need(signed in (self.signature(number), self.LOST), f"Function call is missing a thought_signature: {signed}")
        need(not any("thoughtSignature" in part for part in made[1:]), "a signature that was never given")
        calls = [(self.call_id(number, place), part["functionCall"]["name"], part["functionCall"]["args"]) for place, part in enumerate(made)]
        need(all(part["functionResponse"]["name"] == TOOL for part in answered), f"more than responses: {answered}")
        results = [(self.call_id(number, place), part["functionResponse"]["response"]["result"]) for place, part in enumerate(answered)]
        return calls, results, FILLED if signed == self.LOST else GIVEN

    def signature(self, number):
        return f"Z2VtaW5pIHNpZ25z+/{number}=="

    def body(self, number, parts, finish=None):
        tokens, cached, output, thoughts = usage(number)
        report = {"promptTokenCount": tokens, "candidatesTokenCount": output - thoughts, "thoughtsTokenCount": thoughts,
                  "totalTokenCount": tokens + output, **({"cachedContentTokenCount": cached} if cached else {})}
        parts = [part for part in parts if part.get("text") != ""]
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **({"finishReason": finish} if finish else {})}
        return {"candidates": [candidate], "usageMetadata": report, "modelVersion": "up", "responseId": f"r{number}"}

    def parts(self, number, calls):
        made = [{"functionCall": {"name": TOOL, "args": {"city": city}}} for _, city in calls]
        return [{**part, "thoughtSignature": self.signature(number)} if place == 0 else part for place, part in enumerate(made)]

    def whole(self, number, thinks, text, calls):
        said = [{"text": text}] if text else []
        return 200, self.body(number, [{"text": thinks, "thought": True}, *said, *self.parts(number, calls)], "STOP")

    def streamed(self, number, thinks, text, calls):
        said = [[{"text": piece, "thought": True}] for piece in pieces(thinks)] + [[{"text": piece}] for piece in pieces(text)]
        said += [self.parts(number, calls)] if calls else []
        finishes = [None] * (len(said) - 1) + ["STOP"]
        bodies = [self.body(number, parts, finish) for parts, finish in zip(said, finishes, strict=True)]
        return [f"data: {json.dumps(body)}\r\n\r\n" for body in bodies]


KINDS = {
    "chat": ChatProvider,
    "interleaving": InterleavingProvider,
    "reasoning": ReasoningProvider,
    "messages": MessagesProvider,
    "gemini": GeminiProvider,
}
PROVIDERS = tuple(KINDS)


def start(file):
    """A provider of each kind, by the name of its model, and a table of all."""
    providers = {name: kind() for name, kind in KINDS.items()}
    write_table(file, *((name, each, {**each.row, "model": name, "upstream_model": "up"}) for name, each in providers.items()))
    return providers


if __name__ == "__main__":
    logs = {name: provider.url for name, provider in start(Path(sys.argv[1])).items()}
    print(json.dumps({"logs": logs, "system": SYSTEM, "question": QUESTION, "answer": ANSWER, "told": told()}), flush=True)
    signal.pause()
