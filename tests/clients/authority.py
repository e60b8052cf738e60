"""The certificate of trackers, by an authority that programs in these namespaces trust."""

import ipaddress
import os
import subprocess

from network import HOSTS, PREFIXES

# Where programs look for authorities on Debian.
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class Authority:
    """Files of a certificate for the host `tracker` of all networks, and of its key."""

    def __init__(self, folder):
        self.certificate = folder / "tracker.pem"
        self.key = folder / "tracker.key"
        authority, key = folder / "authority.pem", folder / "authority.key"
        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        openssl(*new, "-x509", "-subj", "/CN=clients", "-keyout", key, "-out", authority)
        at = 10 + HOSTS.index("tracker")
        names = [f"DNS:tracker.{scope}.{family}.test" for family, scope in PREFIXES]
        names += [f"DNS:tracker.{scope}.both.test" for scope in ("public", "private")]
        names += [f"IP:{ipaddress.ip_network(prefix)[at]}" for prefix in PREFIXES.values()]
        extensions = folder / "extensions"
        extensions.write_text(f"subjectAltName={','.join(names)}\nbasicConstraints=critical,CA:FALSE\n")
        request = folder / "request.pem"
        openssl(*new[:-2], "-subj", "/CN=tracker", "-keyout", self.key, "-out", request)
        by = ["-CA", authority, "-CAkey", key, "-CAcreateserial", "-days", "2", "-extfile", extensions]
        openssl("x509", "-req", "-in", request, *by, "-out", self.certificate)
        subprocess.run(["mount", "--bind", authority, BUNDLE], check=True)
        # libtorrent, and Transmission.
        os.environ["SSL_CERT_FILE"] = os.environ["CURL_CA_BUNDLE"] = BUNDLE


def openssl(*arguments):
    """Runs openssl, and says what it said when it fails."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"openssl {arguments}: {done.stderr.strip()}")
