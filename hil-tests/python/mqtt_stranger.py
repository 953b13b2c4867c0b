"""A client that holds one device's certificate and tries more than that device may.

usage: mqtt_stranger.py PORT CA IDENTITY_DIR FLEET OWN OTHER
"""

import pathlib
import sys
import threading

import paho.mqtt.client as mqtt

port, ca, identity, fleet, own, other = sys.argv[1:]
identity = pathlib.Path(identity)
REFUSED = 0x80


class Client:
    """Connects, waits for acknowledgements, remembers what arrives."""

    def __init__(self, client_id):
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
        self.client.tls_set(ca, str(identity / "cert.pem"), str(identity / "tls.key"))
        self.granted = {}
        self.heard = []
        self.connected, self.answered = threading.Event(), threading.Event()
        self.client.on_connect = lambda *_: self.connected.set()
        self.client.on_subscribe = self._granted
        self.client.on_message = lambda _c, _u, m: self.heard.append(m.topic)
        self.client.connect("localhost", int(port))
        self.client.loop_start()
        assert self.connected.wait(10), "no connection"

    def _granted(self, _client, _user, mid, codes, _properties):
        self.granted[mid] = codes[0].value
        self.answered.set()

    def subscribe(self, topic):
        """The broker's answer: 0 to 2 granted, 128 refused."""
        self.answered.clear()
        _, mid = self.client.subscribe(topic, qos=1)
        assert self.answered.wait(10), f"no answer for {topic}"
        return self.granted[mid]

    def publish(self, topic):
        self.client.publish(topic, b"not signed", qos=1).wait_for_publish(10)


# A client id of another device must not throw that device out: the broker takes the certificate's name instead.
client = Client(other)
mine = f"ls/1/{fleet}/{own}/down/+"
foreign = f"ls/1/{fleet}/{other}/down/+"
everything = f"ls/1/{fleet}/+/up/#"
allowed = client.subscribe(mine) != REFUSED
# Mosquitto grants any filter at first and drops what the client may not read; so it is tried with real messages too.
answers = [client.subscribe(foreign), client.subscribe(everything)]
client.publish(f"ls/1/{fleet}/{other}/up/hello")
client.publish(f"ls/1/{fleet}/{other}/down/command")
threading.Event().wait(3)
strange = [t for t in client.heard if not t.startswith(f"ls/1/{fleet}/{own}/down/")]
refused = [not [t for t in strange if "/down/" in t], not [t for t in strange if "/up/" in t]]
print(f"subscriptions answered {answers}, heard {client.heard}")
print(f"{sum(refused)} of {len(refused)} refused, {int(allowed)} of 1 allowed")
