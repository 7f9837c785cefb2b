# Finds the primary and uses the store with nothing but sockets and JSON.
import json, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def ask(address, **message):
    s.sendto(json.dumps(message).encode(), address)
    return json.loads(s.recv(65536))
view = ask(("127.0.0.1", int(sys.argv[1])), type="get_view")
host, port = view["primary_address"].rsplit(":", 1)
for message in [dict(command="put", value="1"), dict(command="append", value="2"), dict(command="get"), dict(command="remove"), dict(command="get")]:
    answer = ask((host, int(port)), type="client_request", key="a", **message)
    print(answer["type"], *([answer["value"]] if message["command"] == "get" else []))
