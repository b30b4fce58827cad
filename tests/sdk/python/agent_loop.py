"""What has to hold of an agent's loop over a provider of any shape, whichever framework ran it."""

import time

from agent_providers import ANSWER, ROUNDS, start, told, weather
from books import booked_requests
from gateway import Serve, eventually


class Loops:
    """A provider of each kind and one gateway in front of them."""

    def __init__(self, folder):
        self.providers = start(folder / "providers.toml")
        self.serve = Serve(folder, folder / "providers.toml")

    def stop(self):
        self.serve.kill()
        for provider in self.providers.values():
            provider.stop()

    def begin(self, provider):
        return Loop(self, provider)


class Loop:
    """One run of an agent."""

    def __init__(self, loops, provider):
        self.serve, self.provider, self.asked = loops.serve, loops.providers[provider], []
        self.provider.log()
        # By the time, since what came before may not have reached the file yet.
        self.since = time.time_ns() // 1000

    def get_weather(self, city: str) -> str:
        """The weather in a city now."""
        self.asked.append(city)
        return weather(city)

    def check(self, text, usages=None):
        """The provider had nothing to refuse, the tool ran for every city, the answer quotes all results, and the framework was told
        the tokens that the provider counted, which are those in the books. What the last request proved of each round's thoughts."""
        log = self.provider.log()
        assert log["wrong"] == []
        assert log["asked"] == len(ROUNDS) + 1
        assert sorted(self.asked) == sorted(city for cities in ROUNDS for city in cities)
        assert text == ANSWER
        assert usages in (None, told())
        booked = eventually(self.booked, 10, f"{len(told())} requests in the books")
        inputs = [row["fresh_input"] + row["cache_read"] + row["cache_write"] for row in booked]
        assert list(zip(inputs, [row["output"] for row in booked], strict=True)) == told()
        return log["proofs"]

    def booked(self):
        rows = booked_requests(self.serve.data, self.since)
        return rows if len(rows) >= len(told()) else None

