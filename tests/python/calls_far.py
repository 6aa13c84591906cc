"""A server in another process, for the tests of calls."""

import calls_children
import pytest
from conftest import eventually

import pannier


class Far:
    """A server in another process, and a client of it."""

    def __init__(self, child, way, **settings):
        self.child = child(calls_children.serve, *way, tuple(settings.items()))
        self.address = self.child.recv()
        self.client = pannier.Client(self.address, timeout=30)
        self.ask = self.child.ask

    def raised(self, kind):
        """What arrives where a handler raised `kind`: without a link nobody unpickles it."""
        return kind if self.client.info.same_user else pannier.RemoteError

    def told(self):
        return self.ask("told")

    def saw(self, what, seconds=10):
        return eventually(lambda: what in self.told(), seconds)


@pytest.fixture
def far(child, way, request):
    """far(**settings of the Server)."""
    made = []

    def make(**settings):
        made.append(Far(child, way, **settings))
        return made[-1]

    yield make
    for each in made:
        each.client.close()


@pytest.fixture(params=[0, 2], ids=["one thread", "handler threads"])
def threads(request):
    return request.param
