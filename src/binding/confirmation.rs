//! `cnf`: the key or certificate that a token is bound to (RFC 7800 section 3).

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The SHA-256 of a public key (RFC 7638) or of a certificate in DER (RFC 8705 section 3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// The thumbprint of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut thumbprint = [0; 32];
        for (to, from) in thumbprint.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref())
        {
            *to = *from;
        }
        Self(thumbprint)
    }

    /// Reads 43 characters of base64url.
    #[must_use]
    pub fn from_base64url(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// Reads the format of Node's `fingerprint256`: 32 bytes in hexadecimal, separated by colons.
    #[must_use]
    pub fn from_fingerprint(text: &str) -> Option<Self> {
        let mut thumbprint = [0; 32];
        let mut parts = text.split(':');
        for byte in &mut thumbprint {
            let part = parts.next().filter(|part| part.len() == 2)?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(Self(thumbprint))
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Thumbprint")
    }
}

/// The binding of a token to a key, a certificate or both. The client must prove each that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// `jkt`: the key that signs the proofs (RFC 9449 section 6.1).
    pub key: Option<Thumbprint>,
    /// `x5t#S256`: the client's certificate (RFC 8705 section 3.1).
    pub certificate: Option<Thumbprint>,
}

impl Confirmation {
    /// Reads `cnf`. `None` if it has an unsupported member: an unchecked binding would protect
    /// nothing.
    #[must_use]
    pub fn read(value: &Value) -> Option<Self> {
        let members = value.as_object().filter(|members| !members.is_empty())?;
        let mut read = Self { key: None, certificate: None };
        for (name, value) in members {
            let place = match name.as_str() {
                "jkt" => &mut read.key,
                "x5t#S256" => &mut read.certificate,
                _ => return None,
            };
            *place = Some(Thumbprint::from_base64url(value.as_str()?)?);
        }
        Some(read)
    }

    /// The value of `req.guard.token.bound`: `dpop`, `mtls` or `dpop+mtls`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match (self.key.is_some(), self.certificate.is_some()) {
            (true, true) => "dpop+mtls",
            (false, true) => "mtls",
            (_, false) => "dpop",
        }
    }
}
