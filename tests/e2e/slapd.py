"""A real OpenLDAP server on a free port of this machine, with TLS and a few people in it."""

import shutil
import socket
import subprocess
from pathlib import Path

from mesh import wait_until

LDIF = """
dn: dc=example,dc=org
objectClass: domain
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: cn=reader,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reader's password

dn: uid=ann,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: ann
cn: Ann
sn: A
userPassword: ann's password

dn: uid=Bob (B*b),ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: Bob (B*b)
cn: Bob
sn: B
userPassword: bob's password

dn: uid=carl,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: carl
cn: Carl
sn: C
userPassword: carl's password

dn: cn=devs,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: devs
member: uid=ann,ou=people,dc=example,dc=org
member: uid=Bob (B*b),ou=people,dc=example,dc=org

dn: cn=auditors,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: auditors
member: uid=ann,ou=people,dc=example,dc=org
"""


def make_certificate(folder: Path) -> None:
    """ca.pem, server.pem and server.key for localhost."""
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.pem")


class Slapd:
    reader_dn = "cn=reader,dc=example,dc=org"
    reader_password = "reader's password"

    def __init__(self, folder: Path):
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        make_certificate(folder)
        (folder / "db").mkdir()
        modules = next(p for p in ("/usr/lib/ldap", "/usr/lib/openldap", "/usr/libexec/openldap")
                       if Path(p).is_dir())
        schema = Path("/etc/ldap/schema")
        (folder / "slapd.conf").write_text(f"""
include {schema}/core.schema
include {schema}/cosine.schema
include {schema}/inetorgperson.schema
modulepath {modules}
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
security simple_bind=128
disallow bind_anon
database mdb
suffix "dc=example,dc=org"
directory {folder}/db
maxsize 10485760
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
""")
        (folder / "people.ldif").write_text(LDIF.lstrip())
        self.run("slapadd", "-l", folder / "people.ldif")
        self.process = None
        self.start()

    def run(self, tool: str, *args) -> None:
        path = shutil.which(tool) or f"/usr/sbin/{tool}"
        subprocess.run([path, "-f", self.folder / "slapd.conf", *map(str, args)], check=True)

    def start(self) -> None:
        path = shutil.which("slapd") or "/usr/sbin/slapd"
        self.process = subprocess.Popen(
            [path, "-d", "0", "-f", self.folder / "slapd.conf", "-h",
             f"ldap://127.0.0.1:{self.port}"])

        def listens() -> bool:
            assert self.process.poll() is None, "slapd did not start"
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.port)) == 0
        wait_until(listens, 20)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
