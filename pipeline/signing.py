"""Signatures of records with SSH keys, by OpenSSH's `ssh-keygen -Y`, namespace `graphline`."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError

NAMESPACE = "graphline"


@dataclass(frozen=True)
class Signer:
    """A key that signs. `fingerprint`: `SHA256:…` of its public half."""

    path: Path
    fingerprint: str

    def sign(self, text: str) -> str:
        """Sign a line; returns the armoured signature.

        Raises:
            ConfigError: if the key cannot sign, for example because its passphrase was not given.
        """
        return _keygen(["-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(self.path)], text, f"sign_key={self.path}")


def open_signer(path: str | None) -> Signer | None:
    """Open a private key, or the public half of one that the SSH agent holds; None without a path.

    Raises:
        ConfigError: if it is no key.
    """
    if not path:
        return None
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise ConfigError(f"sign_key={path}: no file at {file}; pass the path of an SSH key.")
    return Signer(file, _keygen(["-l", "-E", "sha256", "-f", str(file)], "", f"sign_key={file}").split()[1])


def signature_fault(
    text: str, signature: str, *, principal: str, moment: str, fingerprint: str, allowed_signers: Path
) -> str | None:
    """Say what is wrong with a signature, or None when it is good.

    Args:
        principal: who must have signed, as the file names them.
        moment: when, `20261101120000Z`: keys may be valid for a time.
        fingerprint: of the key that the record names.
        allowed_signers: file of names and public keys (see ssh-keygen's ALLOWED SIGNERS).
    """
    with tempfile.TemporaryDirectory() as temporary:
        armour = Path(temporary) / "signature"
        armour.write_text(signature, encoding="utf-8")
        words = ["-Y", "verify", "-n", NAMESPACE, "-f", str(allowed_signers), "-I", principal, "-s", str(armour)]
        try:
            said = _keygen([*words, "-O", f"verify-time={moment}"], text, "signature")
        except ConfigError as error:
            return f"the signature is not one of {principal} ({error})"
    return None if fingerprint in said.split() else f"the signature is of another key than {fingerprint}"


def _keygen(words: list[str], text: str, what: str) -> str:
    try:
        done = subprocess.run(
            ["ssh-keygen", *words], input=text, capture_output=True, text=True, encoding="utf-8", timeout=120
        )
    except FileNotFoundError:
        raise ConfigError(f"{what}: ssh-keygen is not installed; install OpenSSH 8.9 or newer.") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{what}: ssh-keygen did not answer within two minutes.") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-200:]
        raise ConfigError(f"{what}: ssh-keygen refuses ({said}).")
    return done.stdout + done.stderr
