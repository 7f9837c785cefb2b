#!/usr/bin/env python3
"""A client of pbkv on Python's standard library alone: linearizable, and each write executed once.
Described in the documentation of `pbkv::protocol::message`, and of `transport` (datagrams, tokens).
Left out: keys, several operations at once, and what does not fit a datagram, which is refused: more
than 60 KB on one machine, lists of more than 1 KB between machines."""
import contextlib, json, random, shlex, socket, sys, time, zlib

class NotExecuted(Exception): "It certainly did not happen."
class Unknown(Exception): "It may have happened, once, or may still happen, once."

WHO = {"type": "view_request", "fresh": False}
REFUSED = {"session_expired": Unknown, "out_of_memory": NotExecuted}

class Client:
    def __init__(self, view_server, deadline=5.0):
        family = socket.AF_INET6 if "[" in view_server else socket.AF_INET
        self.socket, self.deadline = socket.socket(family, socket.SOCK_DGRAM), deadline
        self.servers, self.primary, self.session, self.tokens = [view_server], None, None, {}
        self.me, self.id, self.epoch = random.getrandbits(64), 0, [0, 0]

    def send(self, to, message):
        address = to.rpartition(":")[0].strip("[]"), int(to.rpartition(":")[2])
        named = {**message, "client": self.me, "id": self.id, "token": self.tokens.get(address)}
        body = json.dumps(named).encode() + b"\n"
        with contextlib.suppress(OSError):  # as good as lost on its way
            self.socket.sendto(b'{"type":"pbkv","crc32":%d}\n' % zlib.crc32(body) + body, address)

    def receive(self, until):  # the next undamaged answer to what is being asked, or None
        while (left := until - time.monotonic()) > 0:
            try:
                self.socket.settimeout(left)
                data, sender = self.socket.recvfrom(65536)
                head, *lines = map(json.loads, data.splitlines())
                if head["type"] == "retry":  # repeating the token shows that we receive here
                    self.tokens[sender[:2]] = head["token"]
                    return None
                if head["crc32"] != zlib.crc32(data.partition(b"\n")[2]):
                    continue
                for got in lines:
                    whole = (got.get("client"), got.get("id")) == (self.me, self.id)
                    if whole or '"id":%d,' % self.id in got.get("body", "")[:99]:  # of a `piece`
                        return got
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
                pass  # silence, nobody at that port, or nothing of ours

    def ask(self, ask, failure):  # asks whoever is primary until there is an answer
        if len(json.dumps(ask)) > 60000:
            raise NotExecuted("too large for a datagram")
        self.id, wait, until = self.id + 1, 0.05, time.monotonic() + self.deadline
        while time.monotonic() < until:
            for server in [self.primary] if self.primary else self.servers:  # any may know
                self.send(server, {"type": "request", "ask": ask} if self.primary else WHO)
            got = self.receive(min(until, time.monotonic() + wait))
            if not got:
                self.primary, wait = None, min(wait * 2, 0.8)
            elif got["type"] == "view_reply":
                self.servers[1:] = got["servers"]
                self.primary = (got["shown"]["primary"] or {}).get("address")
            elif got["type"] == "piece":
                raise failure("the answer is larger than a datagram")
            elif got["outcome"] == "busy" or "not_primary" in got["outcome"]:
                self.primary = None  # never final
            elif got["view"]["epoch"] >= self.epoch:  # else of a history that was given up
                self.epoch = got["view"]["epoch"]
                return got["outcome"]
            time.sleep(0 if self.primary else 0.01)
        raise failure("no answer within %gs" % self.deadline)

    def write(self, command, **fields):
        if not self.session:
            opened = self.ask({"open": {"nonce": random.getrandbits(64)}}, NotExecuted)
            self.session = opened["opened"], 1
        (session, number), self.session = self.session, None  # not used again if this has no answer
        origin = {"session": session, "number": number, "acknowledged": number - 1}
        outcome = self.ask({"write": {"origin": origin, "command": {command: fields}}}, Unknown)
        if outcome in REFUSED:
            raise REFUSED[outcome](outcome)
        self.session = session, number + 1
        return outcome

    def get(self, key):  # the first page of a list is all of it, if it fits a datagram
        outcome = self.ask({"get": {"key": key}}, NotExecuted)
        return None if outcome == "missing" else outcome["page"]["values"]

if __name__ == "__main__":
    client = Client(sys.argv[1], *map(float, sys.argv[2:]))
    for line in sys.stdin:
        try:
            command, *words = shlex.split(line) or [""]
            if {"get": 1, "remove": 1, "put": 2, "append": 2}.get(command) != len(words):
                raise NotExecuted("not get KEY, put KEY VALUE, append KEY VALUE, or remove KEY")
            fields = dict(zip(["key", "value"], words))
            answer = client.get(**fields) if command == "get" else client.write(command, **fields)
            print(answer if answer == "done" else json.dumps(answer), flush=True)
        except (NotExecuted, Unknown, ValueError) as error:
            print("%s: %s" % (type(error).__name__, error), flush=True)
