"""Three hosts on a switch: network namespaces, so that clients meet as they do on a real network.

All of it is inside the namespaces that `run` starts itself in, and is gone when `run` ends. Nothing
has a way out: no host is connected to the machine's own network.
"""

import ctypes
import ipaddress
import subprocess
import threading

HOSTS = ("tracker", "seeder", "leecher")

# What a network is called, and its prefix. TEST-NET-2 and 2001:db8:: (RFC 5737, RFC 3849) look like
# public addresses to clients and to the tracker.
PREFIXES = {
    ("ipv4", "public"): "198.51.100.0/24",
    ("ipv6", "public"): "2001:db8:77::/64",
    ("ipv4", "private"): "10.77.0.0/24",
    ("ipv6", "private"): "fd77::/64",
}


class Network:
    """A switch and the hosts on it, each with an address of one family, or of both."""

    def __init__(self, number, family, scope):
        self.family = family
        self._scope = scope
        prefixes = [ipaddress.ip_network(PREFIXES[family, scope]) for family in families(family)]
        self.addresses = {
            host: [str(prefix[at]) for prefix in prefixes] for at, host in enumerate(HOSTS, 10)
        }
        self._namespaces = {host: f"n{number}-{host}" for host in HOSTS}
        switch = f"switch{number}"
        ip(f"link add {switch} type bridge stp_state 0 mcast_snooping 0")
        ip(f"link set {switch} up")
        for at, host in enumerate(HOSTS):
            namespace, port = self._namespaces[host], f"port{number}-{at}"
            ip(f"netns add {namespace}")
            ip(f"link add {port} type veth peer name eth0 netns {namespace}")
            ip(f"link set {port} master {switch} up")
            inside = f"-n {namespace}"
            ip(f"{inside} link set lo up")
            if family == "ipv6":
                # Clients do not open IPv4 sockets, and aria2 not even its UDP tracker client, where
                # there is no IPv4 address at all. This one leads nowhere.
                ip(f"{inside} address add 192.0.2.{10 + at}/32 dev lo")
            ip(f"{inside} link set eth0 up")
            for address, prefix in zip(self.addresses[host], prefixes):
                nodad = "nodad" if prefix.version == 6 else ""
                ip(f"{inside} address add {address}/{prefix.prefixlen} dev eth0 {nodad}")
                # Clients look for a route to the outside to find out which families they have. This one
                # ends at the switch.
                ip(f"{inside} -{prefix.version} route add default dev eth0")

    def at(self, host, port):
        """`address:port` for each address of a host, as it is written in a URL."""
        return [
            f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            for address in self.addresses[host]
        ]

    def name(self, host):
        """What `/etc/hosts` calls a host of such a network; see [`name_hosts`]."""
        return f"{host}.{self._scope}.{self.family}.test"

    def start(self, host, command, log):
        """Starts a process on a host; its output goes to the file `log`."""
        with open(log, "ab") as output:
            return subprocess.Popen(
                ["ip", "netns", "exec", self._namespaces[host], *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def on(self, host, call):
        """What `call()` returns when it is made on a host; the sockets it opens are that host's."""
        result = []

        def work():
            try:
                with open(f"/run/netns/{self._namespaces[host]}") as namespace:
                    if _libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), f"cannot enter the namespace of {host}")
                result.append((call(), None))
            except Exception as error:  # Raised again where the caller can see it.
                result.append((None, error))

        # A thread of its own: only a whole thread can move to another namespace.
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        value, error = result[0]
        if error:
            raise error
        return value


def families(name):
    """The families of a network: `ipv4`, `ipv6`, or `both`."""
    return ("ipv4", "ipv6") if name == "both" else (name,)


def name_hosts(folder):
    """Gives the hosts of all networks names, in an `/etc/hosts` that only these namespaces see."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    for (family, scope), prefix in PREFIXES.items():
        prefix = ipaddress.ip_network(prefix)
        lines += [
            f"{prefix[at]} {host}.{scope}.{family}.test {host}.{scope}.both.test"
            for at, host in enumerate(HOSTS, 10)
        ]
    for file, content in (("hosts", lines), ("resolv.conf", ["nameserver 127.0.0.1"])):
        (folder / file).write_text("\n".join(content) + "\n")
        subprocess.run(["mount", "--bind", folder / file, f"/etc/{file}"], check=True)


def ip(arguments):
    """Runs `ip`, and says what it said when it fails."""
    done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"ip {arguments}: {done.stderr.strip()}")


_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x4000_0000
