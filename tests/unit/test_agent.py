"""What an agent may answer: a guest is not trusted to keep to the protocol.

No real agent lies, so that what stands between libvirt and the agent is made up here.
"""

import json

import pytest

from salt_kvm.backend.guests import agent
from salt_kvm.errors import AgentError
from salt_kvm.spec.types import Size


class Liar:
    """Answers all with the same."""

    def __init__(self, answer):
        self.answer = answer

    def ask_agent(self, name, order, timeout):
        return self.answer


ANSWERS = [
    "", "null", "[]", "{}", '{"return"', '{"return": null}', '{"return": [1]}',
    '{"return": {"pid": "many"}}', '{"return": {"pid": 1e400}}', '{"return": "frozen"}',
    '{"return": [{"name": 5}]}', '{"error": {"class": "GenericError"}}', "[" * 100_000,
    json.dumps({"return": {"count": 5, "eof": False, "buf-b64": "?"}}),
    json.dumps({"return": {"count": 0}}), '{"return": ' + '{"a":' * 100_000,
]  # fmt: skip
ASKED = [
    lambda liar: agent.execute(liar, "a", "ls", [], {}, None, 1),
    lambda liar: agent.read_file(liar, "a", "/a", Size(1000)),
    lambda liar: agent.write_file(liar, "a", "/a", b"a", append=False),
    lambda liar: agent.freeze(liar, "a", None),
    lambda liar: agent.thaw(liar, "a"),
    lambda liar: agent.cards(liar, "a"),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer[:20])
@pytest.mark.parametrize("ask", range(len(ASKED)))
def test_an_answer_that_is_none_is_told(ask, answer):
    with pytest.raises(AgentError, match=r"does not answer guest-[a-z-]+ as it should"):
        ASKED[ask](Liar(answer))


def test_an_answer_of_more_is_taken():
    address = {"ip-address": "a", "prefix": 5, "new": {}}
    told = json.dumps({"return": [{"name": "eth0", "new": 1, "ip-addresses": [address]}]})
    (card,) = agent.cards(Liar(told), "a")
    assert (card.name, card.hardware_address, card.ip_addresses[0].prefix) == ("eth0", "", 5)
