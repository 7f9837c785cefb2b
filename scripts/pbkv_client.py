#!/usr/bin/env python3
"""A client of pbkv on the standard library alone: linearizable, each write exactly once. To be imported,
or piped into: `printf 'append a 1\\nget a\\n' | scripts/pbkv_client.py 127.0.0.1:5000`. What it says to
whom, and why, is in the documentation of the crate: `pbkv::protocol::message` and `transport`."""
import json, random, shlex, socket, sys, time, zlib

class NotExecuted(Exception): "It certainly did not happen."
class Unknown(Exception): "It may have happened, once, or may still happen, once."

def address(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)

class Client:
    def __init__(self, view_server, deadline=5.0):
        self.servers, self.deadline, self.primary = [view_server], deadline, None
        self.socket = socket.socket(socket.AF_INET6 if "[" in view_server else socket.AF_INET, socket.SOCK_DGRAM)
        self.me, self.id, self.epoch = random.getrandbits(64), 0, [0, 0]  # a port is no name: it is used again
        self.session, self.number, self.pieces = None, 0, {}

    def send(self, to, message):  # a header with a checksum, then one object a line
        body = json.dumps(message, ensure_ascii=False).encode() + b"\n"
        datagram = b'{"type":"pbkv","crc32":%d}\n' % zlib.crc32(body) + body
        if len(datagram) > 60000:
            raise NotExecuted("too large for a datagram, and this client does not send pieces")
        self.socket.sendto(datagram, address(to))

    def receive(self, until):  # yields what arrives undamaged in time
        while (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data, sender = self.socket.recvfrom(65536)
                head, _, body = data.partition(b"\n")
                checked = json.loads(head).get("crc32") == zlib.crc32(body)
                messages = [json.loads(line) for line in (body if checked else data).splitlines()]
            except (OSError, ValueError):  # silence, a port where nobody listens, or no JSON
                continue
            for message in messages:
                if checked and message["type"] == "piece":
                    message = self.assemble(message, sender)
                if message and checked == (message["type"] != "view"):  # "view" is a plain message
                    yield message

    def assemble(self, piece, sender):  # a large answer comes in pieces, and is fetched by its receiver
        asked, parts = self.pieces.get(piece["id"], (0, {}))
        parts[piece["offset"]], whole = piece["body"].encode(), b""
        while parts.get(len(whole)):
            whole += parts[len(whole)]
        end = len(whole)
        if end == piece["length"]:
            return json.loads(whole)
        if end >= asked or piece["offset"] == 0:  # all that was asked for is here, or it was sent anew
            asked = min(end + 50000, piece["length"])
            want = {"type": "want", "from": self.me, "to": piece["from"], "id": piece["id"], "ranges": [[end, asked]]}
            self.send("%s:%d" % sender[:2], want)
        self.pieces[piece["id"]] = (asked, parts)

    def find_primary(self, until):  # the view server knows; without it, any server that is known
        for server in self.servers:
            self.socket.sendto(b'{"type":"get_view"}', address(server))
        for view in self.receive(min(until, time.monotonic() + 0.2)):
            if view["type"] == "view" and view["primary_address"]:
                self.primary = view["primary_address"]
                self.servers = self.servers[:1] + [a for a in (self.primary, view["backup_address"]) if a]
                return

    def ask(self, ask):  # the same bytes again and again, to whoever is primary, until there is an answer
        self.id, self.pieces, wait = self.id + 1, {}, 0.05
        request = {"type": "request", "client": self.me, "id": self.id, "ask": ask}
        until = time.monotonic() + self.deadline
        while time.monotonic() < until:
            if not self.primary:
                self.find_primary(until)
                continue
            self.send(self.primary, request)
            for reply in self.receive(min(until, time.monotonic() + wait)):
                if reply["type"] != "reply" or (reply["client"], reply["id"]) != (self.me, self.id):
                    continue
                if reply["view"]["epoch"] < self.epoch:  # of a history that was given up
                    continue
                self.epoch, outcome = reply["view"]["epoch"], reply["outcome"]
                if outcome == "busy" or "not_primary" in outcome:  # never final
                    time.sleep(0.01)
                    break
                return outcome
            self.primary, wait = None, min(wait * 2, 0.8)
        raise TimeoutError("no answer within %gs" % self.deadline)

    def write(self, command, **fields):
        try:
            if not self.session:  # no write is in a session that may have an unanswered request
                self.session, self.number = self.ask({"open": {"nonce": random.getrandbits(64)}})["opened"], 0
        except TimeoutError as error:
            raise NotExecuted(error) from None
        session, self.session, number = self.session, None, self.number + 1
        origin = {"session": session, "number": number, "acknowledged": number - 1}
        try:
            outcome = self.ask({"write": {"origin": origin, "command": {command: fields}}})
        except TimeoutError as error:
            raise Unknown(error) from None
        if outcome != "done":
            raise Unknown(outcome)
        self.session, self.number = session, number

    def get(self, key):
        try:
            while (outcome := self.ask({"get": {"key": key}})) != "missing":
                page = outcome["page"]  # a long list comes in pages, which belong together as long as
                values = page["values"]  # its generation is the same
                while len(values) < page["end"] and outcome != "generation_changed":
                    rest = {"generation": page["generation"], "start": len(values), "end": page["end"]}
                    outcome = self.ask({"get": {"key": key, "page": rest}})
                    values += outcome["page"]["values"] if "page" in outcome else []
                if outcome != "generation_changed":
                    return values
        except TimeoutError as error:
            raise NotExecuted(error) from None

if __name__ == "__main__":
    client = Client(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 5.0)
    for command, key, *value in filter(None, map(shlex.split, sys.stdin)):
        try:
            answer = client.get(key) if command == "get" else client.write(command, key=key, **({"value": value[0]} if value else {}))
            print(json.dumps(answer) if command == "get" else "done", flush=True)
        except (NotExecuted, Unknown) as error:
            print("%s: %s" % (type(error).__name__, error), flush=True)
