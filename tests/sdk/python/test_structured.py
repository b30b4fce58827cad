"""Structured output: a pydantic model through the SDK's `parse`, a raw JSON schema, and plain JSON mode."""

import enum
import json

from pydantic import BaseModel, Field

from gateway import user


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Step(BaseModel):
    title: str
    minutes: int


class Recipe(BaseModel):
    name: str
    size: Size
    vegan: bool
    steps: list[Step] = Field(min_length=1)


def test_a_pydantic_model_comes_back_parsed(broker):
    answer = broker.client.chat.completions.parse(model="auto", messages=user("A recipe for soup."), response_format=Recipe)
    assert isinstance(answer.choices[0].message.parsed, Recipe)


def test_a_pydantic_model_comes_back_from_a_stream(broker):
    with broker.client.chat.completions.stream(model="auto", messages=user("A recipe."), response_format=Recipe) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_completion()
    assert isinstance(answer.choices[0].message.parsed, Recipe)


def test_a_raw_schema_is_satisfied(broker):
    schema = {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "green"]}, "count": {"type": "integer"}},
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "pick", "strict": True, "schema": schema}}
    answer, _ = broker.ask("Pick.", response_format=form)
    picked = json.loads(answer.choices[0].message.content)
    assert picked.keys() == {"colour", "count"}
    assert picked["colour"] in ("red", "green") and isinstance(picked["count"], int)


def test_json_mode_yields_an_object(broker):
    answer, _ = broker.ask("Answer in JSON.", response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content), dict)
