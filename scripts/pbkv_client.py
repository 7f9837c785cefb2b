#!/usr/bin/env python3
"""A client of pbkv on the standard library alone: linearizable, each write exactly once. To be imported,
or piped into: `printf 'append a 1\\nget a\\n' | scripts/pbkv_client.py 127.0.0.1:5000`. What it says to
whom, and why, is in the documentation of the crate: `pbkv::protocol::message` and `transport`."""
import json, random, shlex, socket, sys, time, zlib

class NotExecuted(Exception): "It certainly did not happen."
class Unknown(Exception): "It may have happened, once, or may still happen, once."

class Client:
    def __init__(self, view_server, deadline=5.0):
        self.servers, self.deadline, self.primary, self.session, self.id = [view_server], deadline, None, None, 0
        self.me, self.epoch = random.getrandbits(64), [0, 0]  # a name of our own: ports are used again
        self.socket = socket.socket(socket.AF_INET6 if "[" in view_server else socket.AF_INET, socket.SOCK_DGRAM)

    def send(self, to, message):  # a header with a checksum, then the object; in the plain form without one
        body = json.dumps(message, ensure_ascii=False).encode() + b"\n"
        if len(body) > 60000:
            raise NotExecuted("too large for a datagram, and this client does not send pieces")
        plain, (host, port) = message["type"] == "get_view", to.rsplit(":", 1)
        head = b"" if plain else b'{"type":"pbkv","crc32":%d}\n' % zlib.crc32(body)
        try:
            self.socket.sendto(head + body, (host.strip("[]"), int(port)))
        except OSError:
            pass  # as good as lost on its way

    def receive(self, until):  # yields what arrives in time; "view" is plain, all else must be undamaged
        while (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data, sender = self.socket.recvfrom(65536)
                head, _, body = data.partition(b"\n")
                checked = json.loads(head).get("crc32") == zlib.crc32(body)
                messages = [json.loads(line) for line in (body if checked else data).splitlines()]
            except (OSError, ValueError, AttributeError):  # silence, nobody at that port, or not for us
                continue
            for message in messages:
                if not isinstance(message, dict) or not isinstance(message.get("type"), str):
                    continue  # nothing of ours
                if checked and message["type"] == "piece":
                    message = self.joined(message, "%s:%d" % sender[:2])
                if message and checked == (message["type"] != "view"):
                    yield message

    def joined(self, piece, sender):  # a large answer comes in pieces: each one that is new asks for the next
        have, body, length = self.pieces.setdefault(piece["id"], bytearray()), piece["body"].encode(), piece["length"]
        if piece["offset"] == len(have):
            have += body
        if len(have) == length:
            return json.loads(have)
        if piece["offset"] in (0, len(have) - len(body)):  # the first one again: the answer is repeated
            next = [len(have), min(len(have) + len(body), length)]
            want = {"type": "want", "from": self.me, "to": piece["from"], "id": piece["id"], "ranges": [next]}
            self.send(sender, want)

    def ask(self, ask, failure):  # the same bytes to whoever is primary, until there is an answer
        self.id, self.pieces, wait, until = self.id + 1, {}, 0.05, time.monotonic() + self.deadline
        request = {"type": "request", "client": self.me, "id": self.id, "ask": ask}
        while time.monotonic() < until:
            for server in [self.primary] if self.primary else self.servers:  # without the view server, any may know
                self.send(server, request if self.primary else {"type": "get_view"})
            for got in self.receive(min(until, time.monotonic() + wait)):
                if got["type"] == "view" and not self.primary:
                    told = got.get("primary_address"), got.get("backup_address")
                    told = [address for address in told if isinstance(address, str) and ":" in address]
                    if not got.get("primary") or not told:
                        continue
                    self.primary, self.servers = told[0], self.servers[:1] + told
                    break
                if got["type"] != "reply" or (got["client"], got["id"]) != (self.me, self.id):
                    continue
                if got["view"]["epoch"] >= self.epoch:  # else of a history that was given up
                    self.epoch, outcome = got["view"]["epoch"], got["outcome"]
                    if outcome != "busy" and "not_primary" not in outcome:
                        return outcome
                    time.sleep(0.01)  # never final
                    self.primary = None
                    break
            else:
                self.primary, wait = None, min(wait * 2, 0.8)
        raise failure("no answer within %gs" % self.deadline)

    def write(self, command, **fields):
        if not self.session:
            self.session = self.ask({"open": {"nonce": random.getrandbits(64)}}, NotExecuted)["opened"], 1
        (session, number), self.session = self.session, None  # one with an unanswered write is never used again
        origin = {"session": session, "number": number, "acknowledged": number - 1}
        outcome = self.ask({"write": {"origin": origin, "command": {command: fields}}}, Unknown)
        if outcome != "done":
            raise Unknown(outcome)
        self.session = session, number + 1

    def get(self, key):  # a long list comes in pages, which belong together while its generation is the same
        values, rest = [], None
        while (outcome := self.ask({"get": {"key": key, "page": rest}}, NotExecuted)) != "missing":
            if outcome == "generation_changed":
                values, rest = [], None
                continue
            page = outcome["page"]
            values, rest = values + page["values"], rest or {"generation": page["generation"], "end": page["end"]}
            if len(values) >= rest["end"]:
                return values
            rest["start"] = len(values)

FIELDS = {"get": ["key"], "remove": ["key"], "put": ["key", "value"], "append": ["key", "value"]}

def execute(client, line):
    try:
        command, *words = shlex.split(line)
    except ValueError as error:
        raise NotExecuted("unreadable line: %s" % error)
    if command not in FIELDS or len(words) != len(FIELDS[command]):
        usages = ["%s %s" % (command, " ".join(fields).upper()) for command, fields in FIELDS.items()]
        raise NotExecuted("not one of: %s" % ", ".join(usages))
    if command == "get":
        return json.dumps(client.get(*words))
    return client.write(command, **dict(zip(FIELDS[command], words))) or "done"

if __name__ == "__main__":
    client = Client(sys.argv[1], *map(float, sys.argv[2:]))
    for line in filter(str.strip, sys.stdin):
        try:
            print(execute(client, line), flush=True)
        except (NotExecuted, Unknown) as error:
            print("%s: %s" % (type(error).__name__, error), flush=True)
